"""The routes of the sign-in, the sign-out and the password; plain forms, so that they need no script."""

import asyncio
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from control_plane.access.cookie import clear_session, set_session
from control_plane.access.desk import AccessDesk, TooManyTries
from control_plane.access.pages import page
from control_plane.access.passwords import CHARS_MIN
from control_plane.access.visitor import Visitor, visitor_of
from shared.errors import Rejected

FORM_BYTES_MAX = 10_000  # a name and two passwords


def sign_in_router(desk: AccessDesk, elsewhere: str = "") -> APIRouter:
    """`/sign-in`, `/sign-out`, `/password`. `elsewhere` is the OIDC provider's name, if there is one."""
    router = APIRouter(include_in_schema=False)

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """That the web server lives; what it knows is `/api/health`'s to tell."""
        return {"status": "ok"}

    @router.get("/sign-in")
    async def show(request: Request) -> HTMLResponse:
        return sign_in_page(request.query_params.get("next", ""), elsewhere)

    @router.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        fields, address = await form(request), address_of(request)
        name, password, then = (fields.get(key, "") for key in ("name", "password", "next"))
        try:
            secret = await asyncio.to_thread(desk.sign_in, name, password, address)
        except Rejected as error:
            return sign_in_page(then, elsewhere, str(error), name, *_how_refused(error))
        answer = RedirectResponse(own_path(then), 303)
        set_session(answer, request, secret)
        return answer

    @router.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        await asyncio.to_thread(desk.sign_out, visitor_of(request).caller)
        answer = RedirectResponse("/sign-in", 303)
        clear_session(answer, request)
        return answer

    @router.get("/password")
    async def password_page(request: Request) -> HTMLResponse:
        return _password_page(visitor_of(request))

    @router.post("/password")
    async def password(request: Request) -> Response:
        visitor, fields, address = visitor_of(request), await form(request), address_of(request)
        now, new, again = (fields.get(key, "") for key in ("now", "new", "again"))
        if new != again:
            return _password_page(visitor, "the new password was typed differently the second time", 422)
        try:
            secret = await asyncio.to_thread(desk.change_password, visitor.caller, now, new, address)
        except Rejected as error:
            return _password_page(visitor, str(error), _how_refused(error)[0])
        answer = RedirectResponse("/", 303)
        set_session(answer, request, secret)
        return answer

    return router


def address_of(request: Request) -> str:
    """Where the request comes from."""
    return request.client.host if request.client else "an unknown address"


def own_path(then: str) -> str:
    """Where to go after the sign-in: a path of this console, whatever the link said."""
    is_ours = then.startswith("/") and not then.startswith(("//", "/\\")) and then.isprintable()
    return then if is_ours else "/"


async def form(request: Request) -> dict[str, str]:
    """The fields of a form; none of one that is longer than a form of ours can be."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES_MAX:
            return {}
    fields = parse_qs(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=20)
    return {name: values[0] for name, values in fields.items()}


def _how_refused(error: Rejected) -> tuple[int, float]:
    return (429, error.wait_s) if isinstance(error, TooManyTries) else (422, 0.0)


def sign_in_page(
    then: str, elsewhere: str, problem: str = "", name: str = "", status: int = 200, wait_s: float = 0.0
) -> HTMLResponse:
    """The form, with what was wrong the last time."""
    answer = page(
        "sign_in", status, then=own_path(then), elsewhere=elsewhere, problem=problem, name=name[:64]
    )
    if wait_s:
        answer.headers["retry-after"] = str(int(wait_s) + 1)
    return answer


def _password_page(visitor: Visitor, problem: str = "", status: int = 200) -> HTMLResponse:
    caller = visitor.caller
    return page(
        "password", status, account=caller.account, first=caller.must_change, problem=problem,
        chars_min=CHARS_MIN,
    )  # fmt: skip
