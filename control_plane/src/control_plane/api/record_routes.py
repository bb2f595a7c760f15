"""The JSON API over what is on record: histories."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from pydantic import AwareDatetime

from control_plane.api.desks import Desks
from control_plane.api.fleet_view import FleetView
from control_plane.api.history_models import LongHistory
from control_plane.api.long_history import POINTS_DEFAULT, POINTS_MAX, POINTS_MIN, Span
from control_plane.api.routes import unknown_component
from shared.errors import Rejected, Retryable
from shared.schemas import ComponentId, utc_now

SPAN_DEFAULT = timedelta(days=1)


def record_router(view: FleetView, desks: Desks) -> APIRouter:
    """`/api/components/{site}/{reactor}/{component}/history`."""
    router = APIRouter(prefix="/api", tags=["record"])

    @router.get("/components/{site}/{reactor}/{component}/history")
    async def history(
        site: str,
        reactor: str,
        component: str,
        start: Annotated[
            AwareDatetime | None, Query(alias="from", description="default: a day before")
        ] = None,
        end: Annotated[AwareDatetime | None, Query(alias="to", description="default: now")] = None,
        points: Annotated[int, Query(ge=POINTS_MIN, le=POINTS_MAX)] = POINTS_DEFAULT,
    ) -> LongHistory:
        """A component over any span, at most `points` buckets a series; times with their time zone."""
        key = ComponentId(site, reactor, component)
        if not desks.history.knows(key):
            raise HTTPException(404, unknown_component(view, key))
        try:
            return await desks.history.history(key, span_of(start, end, points))
        except Rejected as error:
            raise HTTPException(422, str(error)) from error
        except Retryable as error:
            raise HTTPException(503, str(error)) from error

    return router


def span_of(start: datetime | None, end: datetime | None, points: int = POINTS_DEFAULT) -> Span:
    """What was asked for; the last day where nothing was."""
    end = end or utc_now()
    return Span(start or end - SPAN_DEFAULT, end, points)
