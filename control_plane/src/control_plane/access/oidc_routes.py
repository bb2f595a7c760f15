"""`/sign-in/oidc` and the way back from the provider."""

import asyncio

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import RedirectResponse, Response

from control_plane.access.cookie import set_session
from control_plane.access.desk import AccessDesk
from control_plane.access.oidc import BACK, Provider
from control_plane.access.oidc_settings import OidcSettings
from control_plane.access.sign_in_routes import address_of, own_path, sign_in_page
from shared.errors import Rejected


def oidc_router(desk: AccessDesk, settings: OidcSettings | None) -> APIRouter:
    """The routes; 404 where no provider is set up."""
    router = APIRouter(include_in_schema=False)
    provider = None if settings is None else Provider(settings)
    elsewhere = "" if settings is None else settings.name

    @router.get("/sign-in/oidc")
    async def begin(request: Request) -> Response:
        then = own_path(request.query_params.get("next", ""))
        try:
            return await _known(provider).begin(request, then)
        except Rejected as error:
            return sign_in_page(then, elsewhere, str(error), status=502)

    @router.get(BACK)
    async def back(request: Request) -> Response:
        try:
            vouched, then = await _known(provider).finish(request)
            found = await asyncio.to_thread(desk.accounts.from_elsewhere, *vouched)
        except Rejected as error:
            await asyncio.to_thread(desk.refused_elsewhere, str(error), address_of(request))
            return sign_in_page("/", elsewhere, str(error), status=403)
        secret = await asyncio.to_thread(desk.sign_in_elsewhere, found, address_of(request))
        answer = RedirectResponse(then, 303)
        set_session(answer, request, secret)
        return answer

    return router


def _known(provider: Provider | None) -> Provider:
    if provider is None:
        raise HTTPException(404, "no OpenID provider is set up: PM_OIDC_ISSUER names one")
    return provider
