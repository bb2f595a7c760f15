"""Sessions on the server's side: a browser holds 256 random bits, the file their SHA-256."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, or_, select, update

from control_plane.access.caller import Caller
from control_plane.access.database import AccessDatabase, accounts, micros, sessions
from control_plane.access.roles import Permission, Role, granted
from control_plane.serving.tokens import digest, new_token
from shared.schemas import utc_now

IDLE = timedelta(hours=1)  # NIST SP 800-63B-4 for AAL2: at most an hour without a sign of the person
LIFE = timedelta(hours=12)  # a shift; the same asks for at most 24 h
SEEN_EVERY = timedelta(minutes=1)  # how exactly the last sign is kept: a write for each click costs a flush
PER_ACCOUNT_MAX = 20  # browsers of one person; the oldest is signed out


class Sessions:
    """Who is signed in. Blocking, milliseconds."""

    def __init__(self, db: AccessDatabase, clock: Callable[[], datetime] = utc_now) -> None:
        self._db, self._clock = db, clock

    def begin(self, account: str) -> str:
        """A new session's secret, for the browser's cookie. What is over is removed on the way."""
        secret, now = new_token(), micros(self._clock())
        own = sessions.c
        with self._db.writing() as db:
            over = or_(own.began_us <= now - _us(LIFE), own.seen_us <= now - _us(IDLE))
            db.execute(delete(sessions).where(over))
            newest = select(own.digest).where(own.account == account).order_by(own.began_us.desc())
            many = db.execute(newest.offset(PER_ACCOUNT_MAX - 1)).scalars().all()
            db.execute(delete(sessions).where(own.digest.in_(many)))
            row = {"digest": digest(secret), "account": account, "began_us": now, "seen_us": now}
            db.execute(insert(sessions).values(**row))
        return secret

    def caller(self, key: str) -> Caller | None:
        """Whose session it is by its digest; None when it is over, or the account is disabled."""
        now = micros(self._clock())
        wanted = select(accounts).join(sessions, sessions.c.account == accounts.c.name).where(
            sessions.c.digest == key,
            sessions.c.began_us > now - _us(LIFE),
            sessions.c.seen_us > now - _us(IDLE),
            ~accounts.c.disabled,
        )  # fmt: skip
        with self._db.reading() as db:
            row = db.execute(wanted).first()
        if row is None:
            return None
        roles = tuple(Role(name) for name in row.roles.split())
        must_change = row.one_time_until_us is not None
        return Caller(row.name, roles, granted(roles) | {Permission.SELF}, key, must_change=must_change)

    def touch(self, key: str) -> None:
        """The person gave a sign."""
        now = micros(self._clock())
        stale = sessions.c.seen_us <= now - _us(SEEN_EVERY)
        with self._db.reading() as db:
            if db.execute(select(sessions.c.digest).where(sessions.c.digest == key, stale)).first() is None:
                return
        with self._db.writing() as db:
            db.execute(update(sessions).where(sessions.c.digest == key).values(seen_us=now))

    def end(self, key: str) -> None:
        """Sign out."""
        with self._db.writing() as db:
            db.execute(delete(sessions).where(sessions.c.digest == key))


def _us(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
