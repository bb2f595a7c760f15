"""A page's websocket, for as long as its session holds: checked with whatever goes either way."""

import asyncio

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.access.callers import Callers
from control_plane.access.desk import AccessDesk
from control_plane.access.roles import Permission
from shared.errors import PmStackError

ENDED = 4401  # a close code of our own: the session has ended
EVENT = '42["event"'  # how socket.io writes that a person pressed or typed something


async def guarded(
    app: ASGIApp, callers: Callers, desk: AccessDesk, scope: Scope, receive: Receive, send: Send
) -> None:
    """Run the application on the websocket; close it when the session ends, whoever speaks next."""
    asked, closed = HTTPConnection(scope), False

    async def holds() -> bool:
        nonlocal closed
        if not closed and not await _may_see(callers, asked):
            closed = True
            await send({"type": "websocket.close", "code": ENDED})
        return not closed

    async def receiving() -> Message:
        message = await receive()
        if message["type"] == "websocket.receive":
            if not await holds():
                return {"type": "websocket.disconnect", "code": ENDED}
            if (message.get("text") or "").startswith(EVENT):
                await _touch(callers, desk, asked)
        return message

    async def sending(message: Message) -> None:
        nonlocal closed
        if closed or (message["type"] == "websocket.send" and not await holds()):
            return
        closed = message["type"] == "websocket.close"
        await send(message)

    await app(scope, receiving, sending)


async def _may_see(callers: Callers, asked: HTTPConnection) -> bool:
    try:
        caller = await callers.of(asked)
    except PmStackError:  # who it is cannot be known now
        return False
    return caller is not None and caller.may(Permission.SEE)


async def _touch(callers: Callers, desk: AccessDesk, asked: HTTPConnection) -> None:
    caller = await callers.of(asked)
    if caller is not None and not caller.by_token:
        await asyncio.to_thread(desk.sessions.touch, caller.key)
