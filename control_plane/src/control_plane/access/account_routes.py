"""`/account` and `/api/me`: who one is, what one may do, and one's API tokens."""

import asyncio

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import HTMLResponse, RedirectResponse, Response

from control_plane.access.api_tokens import DAYS_DEFAULT, DAYS_MAX
from control_plane.access.desk import AccessDesk
from control_plane.access.pages import page
from control_plane.access.roles import SCOPES
from control_plane.access.sign_in_routes import form
from control_plane.access.visitor import Visitor, visitor_of
from shared.errors import Rejected


class Me(BaseModel):
    """The account that asks, its roles, and what it may do."""

    account: str
    roles: list[str]
    permissions: list[str]


def account_router(desk: AccessDesk) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.get("/api/me", tags=["access"])
    async def me(request: Request) -> Me:
        """Who is signed in."""
        caller = visitor_of(request).caller
        return Me(
            account=caller.account,
            roles=list(caller.roles),
            permissions=sorted(set(SCOPES) & caller.permissions),
        )

    @router.get("/account", include_in_schema=False)
    async def account(request: Request) -> HTMLResponse:
        return await asyncio.to_thread(_account_page, visitor_of(request))

    @router.post("/account/tokens", include_in_schema=False)
    async def add(request: Request) -> HTMLResponse:
        visitor, fields = visitor_of(request), await form(request)
        own, scopes = visitor.caller.account, [scope for scope in SCOPES if f"scope-{scope}" in fields]
        days = int(text) if (text := fields.get("days", "")).isdecimal() and len(text) < 9 else 0
        try:
            made = await asyncio.to_thread(desk.tokens.add, own, fields.get("name", ""), scopes, days, by=own)
        except Rejected as error:
            return await asyncio.to_thread(_account_page, visitor, problem=str(error), status=422)
        return await asyncio.to_thread(_account_page, visitor, made=made)

    @router.post("/account/tokens/{name}/remove", include_in_schema=False)
    async def remove(request: Request, name: str) -> Response:
        visitor = visitor_of(request)
        own = visitor.caller.account
        try:
            await asyncio.to_thread(desk.tokens.remove, own, name, by=own)
        except Rejected as error:
            return await asyncio.to_thread(_account_page, visitor, problem=str(error), status=404)
        return RedirectResponse("/account", 303)

    return router


def _account_page(visitor: Visitor, made: str = "", problem: str = "", status: int = 200) -> HTMLResponse:
    caller = visitor.caller
    return page(
        "account", status,
        account=caller.account,
        roles=", ".join(caller.roles),
        scopes=[scope for scope in SCOPES if caller.may(scope)],
        tokens=visitor.desk.tokens.all(caller.account),
        made=made, problem=problem, days=DAYS_DEFAULT, days_max=DAYS_MAX,
    )  # fmt: skip
