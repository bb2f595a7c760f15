"""The JSON API: parse, ask the read model, map what is missing to 404."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query

from control_plane.api.fleet_view import FleetView
from control_plane.api.history import MINUTES_MAX
from control_plane.api.models import AlertList, Completeness, ComponentPage, FleetSnapshot, Health
from shared.errors import Retryable
from shared.schemas import ComponentId

MINUTES_DEFAULT = 15


def api_router(view: FleetView) -> APIRouter:
    """Routes under `/api`: `fleet`, `components/{site}/{reactor}/{component}`, `alerts`,
    `completeness`, `health`."""
    router = APIRouter(prefix="/api", tags=["fleet"])

    @router.get("/fleet")
    async def fleet() -> FleetSnapshot:
        """The fleet now: sites, reactors, components."""
        return await view.snapshot()

    @router.get("/components/{site}/{reactor}/{component}")
    async def component(
        site: str,
        reactor: str,
        component: str,
        minutes: Annotated[int, Query(ge=1, le=MINUTES_MAX)] = MINUTES_DEFAULT,
    ) -> ComponentPage:
        """A component now, and its curves over the last minutes."""
        key = ComponentId(site, reactor, component)
        found = await view.component(key)
        if found is None:
            raise HTTPException(404, unknown_component(view, key))
        try:
            history = await view.history(key, minutes)
        except Retryable as error:
            raise HTTPException(503, str(error)) from error
        return ComponentPage(component=found, history=history)

    @router.get("/alerts")
    async def alerts() -> AlertList:
        """Alerts that need someone, then those shelved, then those over, each newest first."""
        return await view.alerts()

    @router.get("/completeness")
    async def completeness() -> Completeness:
        """What every site produced, what arrived, which gaps are explained."""
        return await view.completeness()

    @router.get("/health")
    async def health() -> Health:
        """Whether the lake can be read and every site reports."""
        return await view.health()

    @router.get("/{rest:path}", include_in_schema=False)
    async def unknown(rest: str) -> None:
        """Anything else under /api is a JSON 404, not the console's page."""
        raise HTTPException(
            404,
            f"no /api/{rest}; there are fleet, components/..., alerts, completeness, health, rollouts, "
            "models and audit/predictions",
        )

    return router


def unknown_component(view: FleetView, key: ComponentId) -> str:
    """What to answer for a component that the configuration does not have."""
    known = ", ".join(each.key for each in view.component_ids)
    return f"no component {key.key}; this fleet has {known}"
