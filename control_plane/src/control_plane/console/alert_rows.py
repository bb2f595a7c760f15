"""Alerts as rows: what, where, since when. Alerts of one event are one row, with its parts beneath.

A list is redrawn only when one of its alerts changed.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from html import escape

from nicegui import ui
from nicegui.element import Element

from control_plane.alerts.models import AlertStatus, AlertView
from control_plane.console import wording
from control_plane.console.parts import Text, attribute, box, visible
from shared.schemas import Severity

Event = list[AlertView]  # its gravest alert first

PARTS_MAX = 8  # of one event that are listed: a device that is gone has as many dead tags as it has tags


def events(alerts: Sequence[AlertView]) -> list[Event]:
    """The alerts by event, in the order of each event's newest alert; within one the gravest first."""
    found: dict[str, Event] = {}
    for alert in alerts:
        found.setdefault(alert.event_id, []).append(alert)
    return [sorted(parts, key=_weight) for parts in found.values()]


def _weight(alert: AlertView) -> tuple[bool, bool, bool]:
    return not alert.standing, alert.severity is not Severity.ALARM, not alert.to_acknowledge


class AlertRows:
    """A list of events, at most `rows_max` of them, with a word where there is none.

    `acknowledge` is called with the event whose button was pressed; without it there are no buttons. An
    `alarm_list` says priority and state in ISA-18.2's words, and keys move from row to row (console.js).
    """

    def __init__(
        self,
        rows_max: int,
        empty: str,
        with_place: bool = True,
        acknowledge: Callable[[Event], None] | None = None,
        alarm_list: bool = False,
    ) -> None:
        self._alarm_list = alarm_list
        self._rows_max, self._with_place, self._acknowledge = rows_max, with_place, acknowledge
        self._shown: list[AlertView] | None = None
        with box("alerts") as self._box:
            self._empty = Text(empty, "muted alerts-empty")
            self._rows = box("alert-list").props('role="list"')
            self._more = box("alerts-more", "a").props('href="/alerts"')
            with self._more:
                self._more_text = Text()

    def show(self, alerts: Sequence[AlertView], now: datetime) -> None:
        """Bring the list up to date."""
        if list(alerts) == self._shown:
            return
        self._shown = list(alerts)
        visible(self._empty, not alerts)
        self._rows.clear()
        found = events(alerts)
        with self._rows:
            for event in found[: self._rows_max]:
                row = _row(event, now, self._with_place, self._acknowledge, self._alarm_list)
                if self._alarm_list:
                    row.props(f'tabindex=0 data-alert="{escape(event[0].event_id)}"')
        hidden = max(0, len(found) - self._rows_max)
        visible(self._more, hidden > 0)
        self._more_text.show(f"and {hidden} more")


def _row(
    event: Event,
    now: datetime,
    with_place: bool,
    acknowledge: Callable[[Event], None] | None,
    alarm_list: bool,
) -> Element:
    alert, *parts = event
    kind = "alert-row" if with_place else "alert-row alert-row-here"
    with box(kind).props('data-testid="alert-row" role="listitem"') as row:
        attribute(row, "data-level", _level(alert))
        waiting = [part for part in event if part.to_acknowledge]
        attribute(row, "data-acknowledged", None if waiting else True)
        _chip(alert)
        if with_place:
            place = f"{alert.site_id}/{alert.reactor_id}/{alert.component}"
            with box("alert-place", "a").props(f'href="/component/{place}"'):
                Text(f"{alert.site_id} · {alert.reactor_id} · {wording.title(alert.component)}")
        with box("alert-message"):
            Text(alert.message)
            _note(alert, now)
        with box("alert-side"):
            if alarm_list:
                Text(wording.alarm_state(alert), "alert-state")
            Text(_times(alert, now), "alert-time")
            if acknowledge is not None and waiting:
                _button("Acknowledge", lambda: acknowledge(waiting))
        if parts:
            _parts(parts, now)
    return row


def _parts(parts: Event, now: datetime) -> None:
    """What belongs to the same event."""
    with box("alert-parts"):
        for part in parts[:PARTS_MAX]:
            with box("alert-part").props('data-testid="alert-part"') as row:
                attribute(row, "data-level", _level(part))
                _chip(part)
                with box("alert-message"):
                    Text(part.message)
                    _note(part, now)
                Text(_times(part, now), "alert-time")
        if len(parts) > PARTS_MAX:
            Text(f"and {len(parts) - PARTS_MAX} more of the same event", "muted")


def _chip(alert: AlertView) -> None:
    with box("chip") as chip:
        attribute(chip, "data-level", _level(alert))
        box("shape", "span").props("aria-hidden=true")
        Text(wording.alert_word(alert), tag="span")


def _button(text: str, pressed: Callable[[], None]) -> None:
    with ui.element("button").classes("act").props('type="button" data-testid="acknowledge"') as button:
        Text(text, tag="span")
        button.on("click", pressed)


def _note(alert: AlertView, now: datetime) -> None:
    for words in (wording.alert_note(alert, now), wording.acknowledgement(alert, now)):
        if words:
            Text(words, "muted alert-note")


def _level(alert: AlertView) -> str:
    """The colour, which only repeats the word."""
    if alert.status in (AlertStatus.RAISED, AlertStatus.ACKNOWLEDGED):
        return alert.severity.value
    waits = alert.to_acknowledge or alert.status is AlertStatus.RETURNED
    return "degraded" if waits else "normal"


def _times(alert: AlertView, now: datetime) -> str:
    if alert.raised_at is None:
        return f"cleared {wording.clock(alert.cleared_at, now)}"
    raised = f"since {wording.clock(alert.raised_at, now)}"
    if alert.cleared_at is None:
        later = alert.status is AlertStatus.RAISED and alert.changed_at > alert.raised_at
        return raised + (f", value of {wording.clock(alert.changed_at, now)}" if later else "")
    lasted = wording.age(max(0.0, (alert.cleared_at - alert.raised_at).total_seconds()))
    return f"{wording.clock(alert.raised_at, now)}, lasted {lasted}"
