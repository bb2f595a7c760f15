"""The console's routes to what is on record: each builds its page and keeps its clock going."""

import asyncio
from typing import Annotated

from fastapi import Query
from nicegui import ui
from pydantic import AwareDatetime, TypeAdapter, ValidationError

from control_plane.api.desks import Desks
from control_plane.api.fleet_view import FleetView
from control_plane.api.history_models import LongHistory
from control_plane.api.long_history import Span
from control_plane.api.record_routes import unknown_release
from control_plane.console.audit_page import AuditPage
from control_plane.console.frame import Frame
from control_plane.console.history_page import DEFAULT_SPAN, HistoryPage
from control_plane.console.models_page import ModelCardPage, ModelsPage
from control_plane.console.pages import BUILD_DEADLINE_S, UPDATE_PERIOD_S, keep_clock, show_missing
from control_plane.console.parts import Text, box
from shared.schemas import ComponentId

_TIME = TypeAdapter(AwareDatetime)


def add_record_pages(view: FleetView, desks: Desks) -> None:
    """Register `/history/{site}/{reactor}/{component}`, `/audit`, `/models`, `/models/{name}/{version}`."""

    @ui.page(
        "/history/{site}/{reactor}/{component}",
        title="History · pm-stack-smr",
        response_timeout=BUILD_DEADLINE_S,
    )
    async def history(
        site: str,
        reactor: str,
        component: str,
        start: Annotated[str, Query(alias="from")] = "",
        end: Annotated[str, Query(alias="to")] = "",
    ) -> None:
        await _history_page(view, desks, ComponentId(site, reactor, component), start, end)

    @ui.page("/audit", title="Audit · pm-stack-smr", response_timeout=BUILD_DEADLINE_S)
    async def audit(prediction_id: Annotated[str, Query(alias="id")] = "") -> None:
        page = AuditPage(desks.audit.prediction, await asyncio.to_thread(desks.exports.sites))
        await keep_clock(page.show, view)
        ui.timer(0, lambda: page.look_up(prediction_id), once=True)  # the page stands before the answer

    @ui.page("/models", title="Models · pm-stack-smr", response_timeout=BUILD_DEADLINE_S)
    async def models() -> None:
        await keep_clock(ModelsPage(await desks.models.cards()).show, view)

    @ui.page("/models/{name}/{version}", title="Model · pm-stack-smr", response_timeout=BUILD_DEADLINE_S)
    async def model(name: str, version: str) -> None:
        card = await desks.models.card(f"{name}/{version}")
        if card is None:
            frame = Frame("Models")
            with frame.content:
                with box("page-head"):
                    Text("Unknown release", "page-title", "h1")
                Text(await unknown_release(desks.models, f"{name}/{version}"), "missing")
            await keep_clock(frame.show, view)
            return
        await keep_clock(ModelCardPage(card).show, view)


async def _history_page(view: FleetView, desks: Desks, key: ComponentId, start: str, end: str) -> None:
    found = await view.component(key)
    if found is None:
        await show_missing(view, key)
        return

    async def ask(span: Span) -> LongHistory:
        return await desks.history.history(key, span)

    page = HistoryPage(found, desks.history.tags(key), ask)
    page.show(found, await view.snapshot())

    async def update() -> None:
        now = await view.component(key)
        if now is not None:
            page.show(now, await view.snapshot())

    async def first() -> None:
        try:
            await page.go(_TIME.validate_python(start), _TIME.validate_python(end))
        except ValidationError:  # none given, or a link that somebody broke
            await page.last(DEFAULT_SPAN)

    ui.timer(UPDATE_PERIOD_S, update, immediate=False)
    ui.timer(0, first, once=True)  # the page stands before the lake has answered
