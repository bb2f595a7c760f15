"""The gate before every route: who calls, whether they may, and whether their own page asked."""

import asyncio
from urllib.parse import quote

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.access.caller import Caller
from control_plane.access.callers import Callers, is_bearer
from control_plane.access.decision import Refusal, decide
from control_plane.access.desk import AccessDesk
from control_plane.access.live_page import guarded
from control_plane.access.origin import SAFE
from control_plane.access.pages import page
from control_plane.access.routes import WEBSOCKET, rule_for
from control_plane.access.visitor import Visitor
from shared.errors import PmStackError

ASSETS = "/_nicegui/"  # their names change with their content, so a browser may keep them
HEADERS = {
    "x-frame-options": "DENY",  # or another site's page could have its visitors press our buttons
    "content-security-policy": "frame-ancestors 'none'; object-src 'none'; base-uri 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}

log = structlog.get_logger()


class Gate:
    """ASGI middleware. Requests that pass have a `Visitor` in `state`, where somebody is signed in."""

    def __init__(self, app: ASGIApp, desk: AccessDesk) -> None:
        self._app, self._desk, self._callers = app, desk, Callers(desk)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it pass, or answer in the application's place."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        asked, method = HTTPConnection(scope), str(scope.get("method", WEBSOCKET))
        rule = rule_for(method, scope["path"])
        try:
            caller = await self._callers.of(asked)
            refusal = decide(rule, caller, asked, method)
            if refusal is not None and (refusal.status == 403 or method not in (*SAFE, WEBSOCKET)):
                await asyncio.to_thread(self._desk.refuse, caller, f"{method} {scope['path']}", refusal.why)
        except PmStackError as error:
            log.error("nobody can be let in", reason=str(error))
            caller, refusal = None, Refusal(503, "accounts cannot be read; the centre's log says why")
        if refusal is not None:
            await _refuse(refusal, caller, asked, scope, receive, send)
            return
        if caller is not None:
            scope.setdefault("state", {})["visitor"] = Visitor(caller, self._desk)
        await self._pass(caller, asked, scope, receive, send)

    async def _pass(
        self, caller: Caller | None, asked: HTTPConnection, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if scope["type"] == "websocket":
            await guarded(self._app, self._callers, self._desk, scope, receive, send)
            return
        if caller is not None and not caller.by_token and "/_nicegui" not in scope["path"]:
            await asyncio.to_thread(self._desk.sessions.touch, caller.key)
        await self._app(scope, receive, _with_headers(asked, send))
        if scope["method"] == "POST":
            self._callers.forget()  # it may have signed somebody out, or changed what they may


async def _refuse(
    refusal: Refusal, caller: Caller | None, asked: HTTPConnection, scope: Scope, receive: Receive, send: Send
) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.why[:100]})
        return
    answer = _answer(refusal, caller, asked)
    await answer(scope, receive, _with_headers(asked, send))


def _answer(refusal: Refusal, caller: Caller | None, asked: HTTPConnection) -> Response:
    path = asked.url.path
    if path.startswith("/api/") or is_bearer(asked):
        headers = {"www-authenticate": "Bearer"} if refusal.status == 401 else None
        return JSONResponse({"detail": refusal.why}, refusal.status, headers)
    if refusal.status == 401:
        query = f"?{asked.url.query}" if asked.url.query else ""
        return RedirectResponse(f"/sign-in?next={quote(path + query, safe='/')}", 303)
    if caller is not None and caller.must_change and refusal.status == 403:
        return RedirectResponse("/password", 303)
    heading = "Nothing here" if refusal.status == 404 else "Not for this account"
    account = caller.account if caller else ""
    return page("refused", refusal.status, heading=heading, why=refusal.why, account=account)


def _with_headers(asked: HTTPConnection, send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if not asked.url.path.startswith(ASSETS):
                headers["cache-control"] = "no-store"  # after signing out, "back" shows nothing
            if asked.url.scheme == "https":
                headers.setdefault("strict-transport-security", "max-age=31536000")
        await send(message)

    return sending
