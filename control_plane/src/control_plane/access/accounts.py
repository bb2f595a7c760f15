"""Accounts: who people are at the centre's web, and their passwords."""

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from control_plane.access import passwords
from control_plane.access.database import AccessDatabase, accounts, api_tokens, micros, moment, sessions
from control_plane.access.roles import Role, parse_roles
from control_plane.audit.centre_log import CentreAct, CentreLog
from shared.errors import Rejected
from shared.schemas import utc_now

ACCOUNTS_MAX = 10_000  # a company's people; OIDC adds them by itself
ONE_TIME_LIFE = timedelta(days=7)  # a letter's way to a shift that is away
FIRST_NAME = "first"
FIRST_ROLES = (Role.OPERATOR, Role.ENGINEER, Role.AUDITOR)  # together they may do all that the web lets do
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}( [A-Za-z0-9_.@+-]+){0,3}")
_NAME_CHARS_MAX = 64


class Account(NamedTuple):
    """One account. `one_time_until` is there while its password was given to it and must be changed."""

    name: str
    roles: tuple[Role, ...]
    one_time_until: datetime | None
    elsewhere: bool  # signs in at the OIDC provider, and has no password here
    disabled: bool


class Accounts:
    """The accounts of one centre. Each change is on the centre's record before it counts.

    Blocking: milliseconds, and 50 more where a password is hashed. Rejected says what cannot be.
    """

    def __init__(self, db: AccessDatabase, log: CentreLog, clock: Callable[[], datetime] = utc_now) -> None:
        self._db, self._log, self._clock = db, log, clock

    def all(self) -> list[Account]:
        """By name."""
        with self._db.reading() as db:
            return [_account(row) for row in db.execute(select(accounts).order_by(accounts.c.name))]

    def has(self, name: str) -> bool:
        """Whether there is such an account."""
        with self._db.reading() as db:
            return db.execute(select(accounts.c.name).where(accounts.c.name == name)).first() is not None

    def add(self, name: str, roles: Iterable[Role], by: str) -> str:
        """A new account; its one-time password, which nobody can read again."""
        roles = parse_roles(roles)
        password = passwords.one_time()
        kept, now = passwords.hashed(password), self._clock()
        with self._db.writing() as db:
            _require_room(db, name)
            row = {"name": name, "roles": " ".join(roles), "password": kept, "disabled": False}
            times = {"one_time_until_us": micros(now + ONE_TIME_LIFE), "added_us": micros(now)}
            db.execute(insert(accounts).values(**row, **times))
            self._log.note(CentreAct.ACCOUNT_ADDED, name, by=by, roles=" ".join(roles))
        return password

    def add_first(self) -> tuple[str, str] | None:
        """Name and one-time password of the first account; None where there is an account already."""
        with self._db.reading() as db:
            if db.execute(select(accounts.c.name).limit(1)).first() is not None:
                return None
        return FIRST_NAME, self.add(FIRST_NAME, FIRST_ROLES, by="the centre's first start")

    def give_password(self, name: str, by: str) -> str:
        """A new one-time password; the old one is good no more, and who is signed in is signed out."""
        password = passwords.one_time()
        kept, until = passwords.hashed(password), self._clock() + ONE_TIME_LIFE
        with self._db.writing() as db:
            if _known(db, name).elsewhere:
                raise Rejected(f"{name} signs in at the OIDC provider and has no password here")
            db.execute(
                update(accounts).where(accounts.c.name == name)
                .values(password=kept, one_time_until_us=micros(until))
            )  # fmt: skip
            db.execute(delete(sessions).where(sessions.c.account == name))
            self._log.note(CentreAct.PASSWORD_GIVEN, name, by=by)
        return password

    def disable(self, name: str, by: str) -> None:
        """Nobody signs in with it from now on, and its sessions and tokens are gone."""
        with self._db.writing() as db:
            _known(db, name)
            db.execute(update(accounts).where(accounts.c.name == name).values(disabled=True))
            for table in (sessions, api_tokens):
                db.execute(delete(table).where(table.c.account == name))
            self._log.note(CentreAct.ACCOUNT_DISABLED, name, by=by)

    def check(self, name: str, password: str) -> Account | None:
        """The account if that is its password and both are good now."""
        with self._db.reading() as db:
            row = db.execute(select(accounts).where(accounts.c.name == name)).first()
        if not passwords.matches(password, row.password if row else None) or row is None or row.disabled:
            return None
        found = _account(row)
        over = found.one_time_until is not None and found.one_time_until < self._clock()
        return None if over else found

    def change_password(self, name: str, now: str, new: str) -> None:
        """By the person, who knows the one before; every session of the account ends."""
        if self.check(name, now) is None:
            raise Rejected("the present password is not this one")
        passwords.require_good(new, name)
        if new == now:
            raise Rejected("the new password is the present one")
        kept = passwords.hashed(new)
        with self._db.writing() as db:
            db.execute(
                update(accounts).where(accounts.c.name == name)
                .values(password=kept, one_time_until_us=None)
            )  # fmt: skip
            db.execute(delete(sessions).where(sessions.c.account == name))
            self._log.note(CentreAct.PASSWORD_CHANGED, name, by=name)

    def from_elsewhere(self, subject: str, name: str, roles: Iterable[Role]) -> Account:
        """The account of a person whom the OIDC provider vouches for, with the roles that it says now."""
        words = " ".join(parse_roles(roles))
        mine = accounts.c.subject == subject
        with self._db.writing() as db:
            row = db.execute(select(accounts).where(mine)).first()
            if row is None:
                _require_room(db, name)
                new = {"name": name, "roles": words, "subject": subject, "disabled": False}
                db.execute(insert(accounts).values(**new, added_us=micros(self._clock())))
                self._log.note(CentreAct.ACCOUNT_ADDED, name, by="OIDC", roles=words)
            elif row.disabled:
                raise Rejected(f"the account {row.name} is disabled")
            elif row.roles != words:
                db.execute(update(accounts).where(mine).values(roles=words))
                self._log.note(CentreAct.ROLES_CHANGED, row.name, by="OIDC", roles=words)
            return _account(db.execute(select(accounts).where(mine)).one())


def _known(db: Connection, name: str) -> Account:
    row = db.execute(select(accounts).where(accounts.c.name == name)).first()
    if row is None:
        raise Rejected(f"no account {name!r}; `control-plane account list` shows what there is")
    return _account(row)


def _require_room(db: Connection, name: str) -> None:
    if len(name) > _NAME_CHARS_MAX or not _NAME.fullmatch(name):
        raise Rejected(f"found the name {name[:80]!r}; expected letters, digits and _.@+-, at most 64")
    if db.execute(select(accounts.c.name).where(func.lower(accounts.c.name) == name.lower())).first():
        raise Rejected(f"there is an account {name!r} already")
    if (db.execute(select(func.count()).select_from(accounts)).scalar() or 0) >= ACCOUNTS_MAX:
        raise Rejected(f"there are {ACCOUNTS_MAX} accounts, and no more fit")


def _account(row: Any) -> Account:
    until = row.one_time_until_us
    return Account(
        row.name,
        tuple(Role(name) for name in row.roles.split()),
        None if until is None else moment(until),
        row.subject is not None,
        row.disabled,
    )
