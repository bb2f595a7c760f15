"""`/alerts`: the operator's alarm list: what needs someone, what was put aside, and what has passed."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from nicegui import ui

from control_plane.alerts.models import AlertStatus
from control_plane.api.models import AlertList, FleetSnapshot
from control_plane.console import wording
from control_plane.console.alarm_summary import AlarmCounts, SortButtons, priority
from control_plane.console.alert_rows import AlertRows, Event
from control_plane.console.frame import Frame
from control_plane.console.parts import Text, box, visible
from shared.schemas import utc_now
from shared.schemas.alert import REASON_CHARS_MAX

ROWS_MAX = 200

Ask = Callable[[Sequence[str], str, datetime], Awaitable[str]]


class AlertsPage:
    """The page; `show` brings it up to date. `ask` acknowledges, and says why it was refused; without it
    there are no buttons."""

    def __init__(self, ask: Ask | None) -> None:
        self._frame = Frame("Alerts")
        self._by_time, self._shown = False, AlertList(taken_at=utc_now(), problem=None, alerts=[])
        with self._frame.content:
            with box("page-head"):
                Text("Alerts", "page-title", "h1")
                self._counts = AlarmCounts()
            with box("section-head"):
                Text("Standing", "section-title", "h2")
                self._order = SortButtons(self._sort)
                self._many = Text(classes="muted")
                if ask is not None:
                    Text("Keys on a row: up and down, A to acknowledge it", "muted keys")
            acknowledge = AcknowledgeForm(ask).open if ask is not None else None
            self._standing = AlertRows(
                ROWS_MAX, "No alert needs anybody.", acknowledge=acknowledge, alarm_list=True
            )
            Text("Shelved", "section-title", "h2")
            self._shelved = AlertRows(ROWS_MAX, "No alert is shelved.", alarm_list=True)
            Text("Cleared", "section-title", "h2")
            self._cleared = AlertRows(ROWS_MAX, "No alert has been cleared yet.", alarm_list=True)

    def show(self, alerts: AlertList, snapshot: FleetSnapshot) -> None:
        """What is gravest and waits for a person on top; then what is shelved and cleared."""
        self._frame.show(snapshot)
        self._shown = alerts
        self._counts.show(alerts.alerts)
        self._draw()

    def _sort(self, by_time: bool) -> None:
        self._by_time = by_time
        self._draw()

    def _draw(self) -> None:
        found = self._shown
        aside = {AlertStatus.SHELVED: self._shelved, AlertStatus.CLEARED: self._cleared}
        standing = [alert for alert in found.alerts if alert.status not in aside]  # newest first
        self._standing.show(standing if self._by_time else sorted(standing, key=priority), found.taken_at)
        rows_of = len({alert.event_id for alert in standing})
        self._many.show(f"{len(standing)} alerts of {rows_of} events" if len(standing) > rows_of else "")
        for status, rows in aside.items():
            rows.show([a for a in found.alerts if a.status is status], found.taken_at)


class AcknowledgeForm:
    """Asks for a note; stays where it is while the list behind it is redrawn."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._event: Event = []
        with box("acknowledge", "form").props('data-testid="acknowledge-form"') as self._box:
            self._box.props('aria-label="Acknowledge"')
            self._what = Text(classes="acknowledge-what")
            with box("acknowledge-fields"):
                self._note = _field("Note: what is being done", REASON_CHARS_MAX, "note")
                with box("act", "button").props('type="submit" data-testid="acknowledge-send"'):
                    Text("Acknowledge", tag="span")
                with box("act", "button").props('type="button" data-cancel') as cancel:
                    Text("Cancel", tag="span")
            self._refused = Text(classes="rollout-why").props(
                'role="alert" data-testid="acknowledge-refused"'
            )
        self._box.on("submit.prevent", self._send)
        cancel.on("click", self._close)
        self._close()

    def open(self, event: Event) -> None:
        """Ask about these alerts, as they are seen now."""
        self._event = event
        first = event[0]
        place = f"{first.site_id} · {first.reactor_id} · {wording.title(first.component)}"
        more = f", and {len(event) - 1} more of the same event" if len(event) > 1 else ""
        self._what.show(f"{place}: {first.message}{more}")
        self._refuse("")
        visible(self._box, True)
        ui.run_javascript("consoleAlarms.write()")

    async def _send(self) -> None:
        seen = max(alert.changed_at for alert in self._event)
        ids = [alert.alert_id for alert in self._event]
        refused = await self._ask(ids, self._note.value or "", seen)
        if refused:
            self._refuse(refused)
            return
        self._close()

    def _close(self) -> None:
        self._note.value = ""
        self._refuse("")
        visible(self._box, False)
        if self._event:
            ui.run_javascript("consoleAlarms.back()")

    def _refuse(self, why: str) -> None:
        self._refused.show(why)
        visible(self._refused, bool(why))


def _field(label: str, chars_max: int, name: str) -> ui.input:
    field = ui.input(label).props(f'outlined dense maxlength={chars_max} data-testid="acknowledge-{name}"')
    return field.classes(f"acknowledge-{name}")
