"""The JSON API over what is on record: histories, audited predictions, model cards."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from pydantic import AwareDatetime

from control_plane.api.audit_desk import ID_CHARS_MAX, AuditedPrediction
from control_plane.api.desks import Desks
from control_plane.api.fleet_view import FleetView
from control_plane.api.history_models import LongHistory
from control_plane.api.long_history import POINTS_DEFAULT, POINTS_MAX, POINTS_MIN, Span
from control_plane.api.model_card_models import ModelCard, ModelCards
from control_plane.api.model_cards import ModelDesk
from control_plane.api.routes import unknown_component
from shared.errors import Rejected, Retryable
from shared.schemas import ComponentId, utc_now

SPAN_DEFAULT = timedelta(days=1)


def record_router(view: FleetView, desks: Desks) -> APIRouter:
    """`/api/components/{site}/{reactor}/{component}/history`, `/api/audit/predictions`, `/api/models`."""
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

    @router.get("/audit/predictions")
    async def prediction(
        prediction_id: Annotated[str, Query(alias="id", min_length=1, max_length=ID_CHARS_MAX)],
    ) -> AuditedPrediction:
        """A prediction as it stands on its site's record or the centre's own, and every step of its proof."""
        try:
            found = await desks.audit.prediction(prediction_id)
        except Rejected as error:
            raise HTTPException(422, str(error)) from error
        except Retryable as error:
            raise HTTPException(503, str(error)) from error
        if found is None:
            raise HTTPException(404, f"no entry on any record holds the prediction {prediction_id}")
        return found

    @router.get("/models")
    async def models() -> ModelCards:
        """The card of every published release."""
        return await desks.models.cards()

    @router.get("/models/{name}/{version}")
    async def model(name: str, version: int) -> ModelCard:
        """The card of one published release."""
        card = await desks.models.card(f"{name}/{version}")
        if card is None:
            raise HTTPException(404, await unknown_release(desks.models, f"{name}/{version}"))
        return card

    return router


async def unknown_release(models: ModelDesk, release: str) -> str:
    """What to answer for a release that has no card."""
    known = await models.cards()
    unreadable = next((each for each in known.problems if each.startswith(f"{release}:")), None)
    published = ", ".join(card.release for card in known.cards) or "none"
    return unreadable or f"no release {release} is published; there are: {published}"


def span_of(start: datetime | None, end: datetime | None, points: int = POINTS_DEFAULT) -> Span:
    """What was asked for; the last day where nothing was."""
    end = end or utc_now()
    return Span(start or end - SPAN_DEFAULT, end, points)
