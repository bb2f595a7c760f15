"""Who shows a cookie or a token, remembered for a moment: a page asks for dozens of files at once."""

import asyncio
import time

from starlette.requests import HTTPConnection

from control_plane.access.caller import Caller
from control_plane.access.cookie import session_secret
from control_plane.access.desk import AccessDesk
from control_plane.serving.tokens import LOOK_PERIOD_S

REMEMBERED_MAX = 10_000
_BEARER = "bearer "


class Callers:
    """Who calls. What was ended or taken back is good for LOOK_PERIOD_S more, at most."""

    def __init__(self, desk: AccessDesk) -> None:
        self._desk = desk
        self._known: dict[tuple[bool, str], tuple[float, Caller]] = {}

    async def of(self, asked: HTTPConnection) -> Caller | None:
        """By its API token, else by its session; None for nobody."""
        shown = asked.headers.get("authorization", "")
        if shown:
            return await self._look(shown[len(_BEARER) :], True) if is_bearer(asked) else None
        secret = session_secret(asked)
        return await self._look(secret, False) if secret else None

    def forget(self) -> None:
        """Something has changed just now: look anew."""
        self._known.clear()

    async def _look(self, secret: str, token: bool) -> Caller | None:
        until, caller = self._known.get((token, secret), (0.0, None))
        if caller is not None and time.monotonic() < until:
            return caller
        found = await asyncio.to_thread(self._desk.caller, secret, token=token)
        if found is not None:
            if len(self._known) >= REMEMBERED_MAX:
                self._known.clear()
            self._known[token, secret] = (time.monotonic() + LOOK_PERIOD_S, found)
        return found


def is_bearer(asked: HTTPConnection) -> bool:
    """Whether a token is shown: then no cookie counts."""
    return asked.headers.get("authorization", "")[: len(_BEARER)].lower() == _BEARER
