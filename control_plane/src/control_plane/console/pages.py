"""The console's routes: each builds its page from the read model and keeps it up to date."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated

from fastapi import Query
from nicegui import ui

from control_plane.access.roles import Permission
from control_plane.access.visitor import Visitor
from control_plane.api.alert_desk import AlertDesk
from control_plane.api.fleet_view import FleetView
from control_plane.api.history import MINUTES_MAX
from control_plane.api.models import FleetSnapshot
from control_plane.api.rollout_desk import RolloutDesk, Verb
from control_plane.api.routes import MINUTES_DEFAULT
from control_plane.console.alerts_page import AlertsPage
from control_plane.console.alerts_page import Ask as AskAlerts
from control_plane.console.completeness_page import CompletenessPage
from control_plane.console.component_page import ComponentPage
from control_plane.console.fleet_page import FleetPage
from control_plane.console.frame import Frame, head_html
from control_plane.console.parts import Text, attribute, box
from control_plane.console.rollout_page import Ask as AskRollouts
from control_plane.console.rollout_page import RolloutPage
from control_plane.console.who import visitor
from shared.errors import Retryable
from shared.schemas import ComponentId

UPDATE_PERIOD_S = 1.0
CURVES_PERIOD_S = 2.0  # a curve moves a pixel in that time
BUILD_DEADLINE_S = 120.0  # the first look at a large lake on a busy machine: late is better than an error


def add_pages(view: FleetView, desk: RolloutDesk, alert_desk: AlertDesk) -> None:
    """Register `/`, `/alerts`, `/completeness`, `/rollouts` and `/component/{site}/{reactor}/{component}`."""
    ui.add_head_html(head_html(), shared=True)

    @ui.page("/", title="Fleet · pm-stack-smr", response_timeout=BUILD_DEADLINE_S)
    async def fleet() -> None:
        page = FleetPage(await view.snapshot())

        async def update() -> None:
            page.show(await view.snapshot())

        await update()
        ui.timer(UPDATE_PERIOD_S, update, immediate=False)

    @ui.page("/alerts", title="Alerts · pm-stack-smr", response_timeout=BUILD_DEADLINE_S)
    async def alerts() -> None:
        page = AlertsPage(_acknowledging(alert_desk, visitor()))

        async def update() -> None:
            page.show(await view.alerts(), await view.snapshot())

        await update()
        ui.timer(UPDATE_PERIOD_S, update, immediate=False)

    @ui.page("/completeness", title="Records · pm-stack-smr", response_timeout=BUILD_DEADLINE_S)
    async def completeness() -> None:
        page = CompletenessPage()

        async def count() -> None:
            page.count(await view.completeness())

        await keep_clock(page.show, view)
        ui.timer(UPDATE_PERIOD_S, count)  # counting every row takes long: the page is there meanwhile

    @ui.page("/rollouts", title="Roll-outs · pm-stack-smr", response_timeout=BUILD_DEADLINE_S)
    async def rollouts() -> None:
        page = RolloutPage(_rolling_out(desk, visitor()))

        async def update() -> None:
            page.show(await desk.board(), await view.snapshot())

        await update()
        ui.timer(UPDATE_PERIOD_S, update, immediate=False)

    @ui.page(
        "/component/{site}/{reactor}/{component}",
        title="Component · pm-stack-smr",
        response_timeout=BUILD_DEADLINE_S,
    )
    async def component(
        site: str,
        reactor: str,
        component: str,
        minutes: Annotated[int, Query(ge=1, le=MINUTES_MAX)] = MINUTES_DEFAULT,
    ) -> None:
        await _component_page(view, ComponentId(site, reactor, component), minutes)


def _acknowledging(desk: AlertDesk, person: Visitor) -> AskAlerts | None:
    """Acknowledging in this person's name; None where they may not."""
    if not person.may(Permission.ACKNOWLEDGE):
        return None

    async def ask(alert_ids: Sequence[str], note: str, seen: datetime) -> str:
        refused = await person.refusal(Permission.ACKNOWLEDGE, f"acknowledge {', '.join(alert_ids)}")
        return refused or await desk.ask(alert_ids, person.caller.account, note, seen)

    return ask


def _rolling_out(desk: RolloutDesk, person: Visitor) -> AskRollouts | None:
    """Holding roll-outs and taking them back in this person's name; None where they may not."""
    if not person.may(Permission.ROLL_OUT):
        return None

    async def ask(verb: Verb, rollout_id: str) -> str:
        refused = await person.refusal(Permission.ROLL_OUT, f"{verb} {rollout_id}")
        return refused or await desk.ask(verb, rollout_id, person.caller.account)

    return ask


async def _component_page(view: FleetView, key: ComponentId, minutes: int) -> None:
    found = await view.component(key)
    if found is None:
        await show_missing(view, key)
        return
    page = ComponentPage(found, await view.history(key, minutes))

    async def update() -> None:
        now = await view.component(key)
        if now is not None:
            page.show(now, await view.snapshot())

    async def update_curves() -> None:
        now = await view.component(key)
        if now is not None:
            with suppress(Retryable):  # the banner says that the lake cannot be read; the curves stay
                page.show_history(now, await view.history(key, minutes))

    await update()
    await update_curves()
    ui.timer(UPDATE_PERIOD_S, update, immediate=False)
    ui.timer(CURVES_PERIOD_S, update_curves, immediate=False)


async def keep_clock(show: Callable[[FleetSnapshot], None], view: FleetView) -> None:
    """Clock and banners now, and once a period from then on."""

    async def update() -> None:
        show(await view.snapshot())

    await update()
    ui.timer(UPDATE_PERIOD_S, update, immediate=False)


async def show_missing(view: FleetView, key: ComponentId) -> None:
    """A page that says which components there are."""
    frame, snapshot = Frame("Component"), await view.snapshot()
    with frame.content:
        with box("page-head"):
            Text("Unknown component", "page-title", "h1")
        Text(f"The fleet has no {key.key}. It has:", "muted")
        with box("missing", "ul"):
            for component in snapshot.components:
                with box(tag="li"), box("ledger-link", "a") as link:
                    attribute(link, "href", f"/component/{component.key}")
                    Text(component.key, tag="span")
    await keep_clock(frame.show, view)
