"""API tokens: for programs, with the scopes that they need, until a day."""

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select

from control_plane.access.caller import Caller
from control_plane.access.database import AccessDatabase, accounts, api_tokens, micros, moment
from control_plane.access.roles import SCOPES, Permission, Role, granted
from control_plane.audit.centre_log import CentreAct, CentreLog
from control_plane.serving.tokens import digest, new_token
from shared.errors import Rejected
from shared.schemas import utc_now

DAYS_DEFAULT, DAYS_MAX = 90, 366  # a forgotten token ends by itself
PER_ACCOUNT_MAX = 50  # programs of one person
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class ApiToken(NamedTuple):
    """What is known of a token but itself."""

    account: str
    name: str
    scopes: tuple[Permission, ...]
    expires: datetime


class ApiTokens:
    """The API tokens of one centre. Blocking, milliseconds. Rejected says what cannot be."""

    def __init__(self, db: AccessDatabase, log: CentreLog, clock: Callable[[], datetime] = utc_now) -> None:
        self._db, self._log, self._clock = db, log, clock

    def add(self, account: str, name: str, scopes: Iterable[str], days: int, by: str) -> str:
        """A new token, which nobody can read again. It can never do more than its account."""
        asked = _scopes(scopes)
        if not _NAME.fullmatch(name):
            raise Rejected(f"found the name {name[:80]!r}; expected letters, digits and _.-, at most 64")
        if not 1 <= days <= DAYS_MAX:
            raise Rejected(f"found {days} days; a token lives 1 to {DAYS_MAX}")
        token, now = new_token(), self._clock()
        with self._db.writing() as db:
            _require_may(db, account, asked)
            own = api_tokens.c
            db.execute(delete(api_tokens).where(own.account == account, own.expires_us <= micros(now)))
            names = db.execute(select(own.name).where(own.account == account)).scalars().all()
            if name in names:
                raise Rejected(f"{account} has a token {name} already; remove it first")
            if len(names) >= PER_ACCOUNT_MAX:
                raise Rejected(f"{account} has {PER_ACCOUNT_MAX} tokens, and no more fit")
            row = {"account": account, "name": name, "digest": digest(token), "scopes": " ".join(asked)}
            db.execute(insert(api_tokens).values(**row, expires_us=micros(now + timedelta(days=days))))
            self._log.note(
                CentreAct.API_TOKEN_MADE, f"{account}/{name}", by=by, scopes=" ".join(asked), days=days
            )
        return token

    def all(self, account: str | None = None) -> list[ApiToken]:
        """By account and name; of one account where it is given."""
        wanted = select(api_tokens).order_by(api_tokens.c.account, api_tokens.c.name)
        if account is not None:
            wanted = wanted.where(api_tokens.c.account == account)
        with self._db.reading() as db:
            rows = db.execute(wanted).all()
        return [
            ApiToken(row.account, row.name, _permissions(row.scopes), moment(row.expires_us)) for row in rows
        ]

    def remove(self, account: str, name: str, by: str) -> None:
        """Take it back; a running server refuses it within a second."""
        own = api_tokens.c
        with self._db.writing() as db:
            gone = db.execute(delete(api_tokens).where(own.account == account, own.name == name))
            if not gone.rowcount:
                raise Rejected(f"{account} has no token {name!r}")
            self._log.note(CentreAct.API_TOKEN_REMOVED, f"{account}/{name}", by=by)

    def caller(self, key: str) -> Caller | None:
        """Whose token it is by its digest; None when it is over, or the account is disabled."""
        wanted = select(api_tokens, accounts.c.roles).join(
            accounts, accounts.c.name == api_tokens.c.account
        ).where(
            api_tokens.c.digest == key,
            api_tokens.c.expires_us > micros(self._clock()),
            ~accounts.c.disabled,
        )  # fmt: skip
        with self._db.reading() as db:
            row = db.execute(wanted).first()
        if row is None:
            return None
        roles = tuple(Role(name) for name in row.roles.split())
        may = granted(roles) & set(_permissions(row.scopes))
        return Caller(row.account, roles, may, key, by_token=row.name)


def _scopes(names: Iterable[str]) -> tuple[Permission, ...]:
    asked = list(dict.fromkeys(names))
    unknown = [name for name in asked if name not in SCOPES]
    if unknown or not asked:
        raise Rejected(f"found {', '.join(unknown) or 'no scope'}; scopes are {', '.join(SCOPES)}")
    return tuple(Permission(name) for name in asked)


def _permissions(scopes: str) -> tuple[Permission, ...]:
    return tuple(Permission(name) for name in scopes.split())


def _require_may(db: Connection, account: str, scopes: tuple[Permission, ...]) -> None:
    row = db.execute(select(accounts).where(accounts.c.name == account)).first()
    if row is None or row.disabled:
        raise Rejected(f"no account {account!r} that is in use; see `control-plane account list`")
    beyond = set(scopes) - granted(Role(name) for name in row.roles.split())
    if beyond:
        raise Rejected(f"{account} may not {', '.join(sorted(beyond))}, so no token of theirs may")
