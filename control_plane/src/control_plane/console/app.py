"""The console and the JSON API as one FastAPI application."""

from collections.abc import Mapping, Sequence

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from control_plane.access.account_routes import account_router
from control_plane.access.desk import AccessDesk
from control_plane.access.gate import Gate
from control_plane.access.oidc_routes import oidc_router
from control_plane.access.oidc_settings import OidcSettings
from control_plane.access.sign_in_routes import sign_in_router
from control_plane.api.alert_desk import alert_router
from control_plane.api.desks import Desks
from control_plane.api.fleet_view import FleetView
from control_plane.api.record_export import export_router
from control_plane.api.record_routes import record_router
from control_plane.api.rollout_desk import rollout_router
from control_plane.api.routes import api_router

RECONNECT_S = 10.0  # how long the server keeps a page for a browser whose connection dropped


def create_app(
    view: FleetView,
    desks: Desks,
    *,
    access: AccessDesk,
    oidc: OidcSettings | None = None,
    extra_routers: Sequence[APIRouter] = (),
    mounts: Mapping[str, ASGIApp] | None = None,
) -> FastAPI:
    """The application: `/api`, the given routers and mounts (path to application), and the pages.

    Nothing is answered but what `access.routes.RULES` names, and to whom it says. The pages take every path
    that nothing else took, so whatever is to be served beside them must come in here. Once a process: NiceGUI
    keeps its pages in the module.
    """
    from nicegui import ui

    from control_plane.console.frame import FAVICON
    from control_plane.console.pages import add_pages
    from control_plane.console.record_pages import add_record_pages

    app = FastAPI(title="pm-stack-smr", openapi_url="/api/openapi.json", docs_url=None, redoc_url=None)
    for router in (
        *extra_routers,
        sign_in_router(access, "" if oidc is None else oidc.name),
        oidc_router(access, oidc),
        account_router(access),
        rollout_router(desks.rollouts),
        alert_router(desks.alerts),
        record_router(view, desks),
        export_router(desks.exports),
        api_router(view),
    ):
        app.include_router(router)
    for path, mounted in (mounts or {}).items():
        app.mount(path, mounted)
    add_pages(view, desks.rollouts, desks.alerts)
    add_record_pages(view, desks)
    ui.run_with(
        app,
        title="pm-stack-smr",
        favicon=FAVICON,
        dark=None,
        language="en-US",
        tailwind=False,
        reconnect_timeout=RECONNECT_S,
        show_welcome_message=False,
    )
    app.add_middleware(Gate, desk=access)
    return app
