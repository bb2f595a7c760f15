"""What people do about their own access: sign in and out, change the password, make and remove tokens."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from control_plane.access.accounts import Account, Accounts
from control_plane.access.api_tokens import ApiTokens
from control_plane.access.caller import Caller
from control_plane.access.database import AccessDatabase
from control_plane.access.limits import PER_ACCOUNT_MAX, PER_ADDRESS_MAX, Tries
from control_plane.access.sessions import Sessions
from control_plane.audit.centre_log import CentreAct, CentreLog
from control_plane.enrolment.refusals import Refusals
from control_plane.serving.tokens import digest
from shared.errors import Rejected

HASHING_MAX = 4  # passwords checked at once: each takes 64 MiB; the next is told to come again


class TooManyTries(Rejected):
    """Not looked at; `wait_s` says how long to wait."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"Too many tries: the next one is looked at in {max(1, round(wait_s / 60))} min.")
        self.wait_s = wait_s


class AccessDesk:
    """Everything of one centre's access. Blocking; Rejected says what is refused."""

    def __init__(self, db: AccessDatabase, log: CentreLog) -> None:
        self.accounts, self.sessions, self.tokens = Accounts(db, log), Sessions(db), ApiTokens(db, log)
        self._refused_acts, self._refused_strangers, self._refused_sign_ins = (
            Refusals(log) for _ in range(3)
        )
        self._log = log
        self._by_account, self._by_address = Tries(PER_ACCOUNT_MAX), Tries(PER_ADDRESS_MAX)
        self._hashing = threading.BoundedSemaphore(HASHING_MAX)

    def sign_in(self, name: str, password: str, address: str) -> str:
        """The new session's secret."""
        self._require_tries_left(name, address)
        with self._turn():
            found = self.accounts.check(name, password)
        if found is None:
            self._refused_sign_in(name, address, "wrong name or password, or one that is over")
            raise Rejected("Wrong account or password.")
        self._by_account.forget(_key(name))
        return self._begin(found, address, "password")

    def sign_in_elsewhere(self, found: Account, address: str) -> str:
        """The session of a person whom the OIDC provider has just vouched for."""
        return self._begin(found, address, "OIDC")

    def sign_out(self, caller: Caller) -> None:
        """End the session."""
        self.sessions.end(caller.key)
        self._log.note(CentreAct.SIGNED_OUT, caller.account)

    def change_password(self, caller: Caller, now: str, new: str, address: str) -> str:
        """A new session's secret: those of before have ended, this one too."""
        self._require_tries_left(caller.account, address)
        with self._turn():
            self.accounts.change_password(caller.account, now, new)
        self._by_account.forget(_key(caller.account))
        return self.sessions.begin(caller.account)

    def caller(self, secret: str, *, token: bool) -> Caller | None:
        """Who shows this session's secret, or this API token."""
        return self.tokens.caller(digest(secret)) if token else self.sessions.caller(digest(secret))

    def refuse(self, caller: Caller | None, what: str, why: str) -> None:
        """Put a refused act on the record; the same one once an hour. A flood of strangers hides nobody's."""
        reason = f"{what}: {why}"
        if caller is None:
            self._refused_strangers.note(CentreAct.ACCESS_REFUSED, "nobody", reason)
            return
        by_token = {"token": caller.by_token} if caller.by_token else {}
        self._refused_acts.note(CentreAct.ACCESS_REFUSED, caller.account, reason, **by_token)

    def refused_elsewhere(self, why: str, address: str) -> None:
        """Put on the record whom the OIDC provider's word did not let in."""
        self._refused_sign_ins.note(CentreAct.SIGN_IN_REFUSED, "OIDC", f"{why}, from {address}")

    def _begin(self, found: Account, address: str, by: str) -> str:
        self._log.note(CentreAct.SIGNED_IN, found.name, address=address, by=by)
        return self.sessions.begin(found.name)

    def _require_tries_left(self, name: str, address: str) -> None:
        wait_s = max(self._by_address.begin(address), self._by_account.begin(_key(name)))
        if wait_s:
            self._refused_sign_in(name, address, "too many tries")
            raise TooManyTries(wait_s)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Nobody waits in a thread: a flood of sign-ins would hold up every page."""
        if not self._hashing.acquire(blocking=False):
            raise TooManyTries(1.0)
        try:
            yield
        finally:
            self._hashing.release()

    def _refused_sign_in(self, name: str, address: str, why: str) -> None:
        """Without the name where no account has it: people type passwords there."""
        subject = name if self.accounts.has(name) else "no account's name"
        self._refused_sign_ins.note(CentreAct.SIGN_IN_REFUSED, subject, f"{why}, from {address}")


def _key(name: str) -> str:
    return name.strip().lower()[:64]
