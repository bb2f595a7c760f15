"""Alerts as rows: what, where, since when. A list is redrawn only when one of its alerts changed."""

from collections.abc import Sequence
from datetime import datetime

from control_plane.api.models import AlertView
from control_plane.console import wording
from control_plane.console.parts import Text, attribute, box, visible
from shared.schemas import Severity


class AlertRows:
    """A list of alerts, at most `rows_max` of them, with a word where there is none."""

    def __init__(self, rows_max: int, empty: str, with_place: bool = True) -> None:
        self._rows_max, self._with_place = rows_max, with_place
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
        with self._rows:
            for alert in alerts[: self._rows_max]:
                _row(alert, now, self._with_place)
        hidden = max(0, len(alerts) - self._rows_max)
        visible(self._more, hidden > 0)
        self._more_text.show(f"and {hidden} more")


def _row(alert: AlertView, now: datetime, with_place: bool) -> None:
    kind = "alert-row" if with_place else "alert-row alert-row-here"
    with box(kind).props('data-testid="alert-row" role="listitem"') as row:
        attribute(row, "data-level", alert.severity.value if alert.standing else "normal")
        with box("chip") as chip:
            attribute(chip, "data-level", alert.severity.value if alert.standing else "normal")
            box("shape", "span").props("aria-hidden=true")
            Text(_word(alert), tag="span")
        if with_place:
            place = f"{alert.site_id}/{alert.reactor_id}/{alert.component}"
            with box("alert-place", "a").props(f'href="/component/{place}"'):
                Text(f"{alert.site_id} · {alert.reactor_id} · {wording.title(alert.component)}")
        Text(alert.message, "alert-message")
        Text(_times(alert, now), "alert-time")


def _word(alert: AlertView) -> str:
    if not alert.standing:
        return "Cleared"
    return "Alarm" if alert.severity is Severity.ALARM else "Warning"


def _times(alert: AlertView, now: datetime) -> str:
    if alert.raised_at is None:
        return f"cleared {wording.clock(alert.cleared_at, now)}"
    raised = f"since {wording.clock(alert.raised_at, now)}"
    if alert.cleared_at is None:
        return raised
    lasted = wording.age(max(0.0, (alert.cleared_at - alert.raised_at).total_seconds()))
    return f"{wording.clock(alert.raised_at, now)}, lasted {lasted}"
