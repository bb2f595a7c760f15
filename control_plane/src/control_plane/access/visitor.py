"""The caller beside a request, for pages: what they may be shown, and whether they may do it now."""

import asyncio
from typing import NamedTuple

from starlette.requests import Request

from control_plane.access.caller import Caller
from control_plane.access.desk import AccessDesk
from control_plane.access.roles import Permission, roles_with
from shared.errors import PmStackError


def visitor_of(request: Request) -> "Visitor":
    """Who asks; the gate has let nobody else in."""
    visitor: Visitor = request.state.visitor
    return visitor


class Visitor(NamedTuple):
    """A caller and the desk that knows whether they are still what they were when the page was made."""

    caller: Caller
    desk: AccessDesk

    def may(self, permission: Permission) -> bool:
        """Whether to show what needs it."""
        return self.caller.may(permission)

    async def refusal(self, permission: Permission, what: str) -> str:
        """Why the act `what` is refused now, on the record; nothing where it is granted.

        To be asked whenever a button is pressed: a page lives longer than what its session was told.
        """
        return await asyncio.to_thread(self._refusal, permission, what)

    def _refusal(self, permission: Permission, what: str) -> str:
        try:
            now = self.desk.sessions.caller(self.caller.key)
            if now is not None and now.may(permission) and not now.must_change:
                self.desk.sessions.touch(now.key)
                return ""
            why = "the session has ended" if now is None else f"needs the role {roles_with(permission)}"
            self.desk.refuse(self.caller, what, why)
        except PmStackError as error:
            return str(error)
        return "You have been signed out. Sign in again." if now is None else f"Refused: this {why}."
