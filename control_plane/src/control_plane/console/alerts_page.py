"""`/alerts`: the operator's alarm list: what needs someone, what was put aside, and what has passed."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from nicegui import ui

from control_plane.alerts.models import AlertStatus, AlertView
from control_plane.api.models import AlertList, FleetSnapshot
from control_plane.console import wording
from control_plane.console.alert_rows import AlertRows, Event
from control_plane.console.frame import Frame
from control_plane.console.parts import Text, box, visible
from shared.schemas import Severity
from shared.schemas.alert import REASON_CHARS_MAX

ROWS_MAX = 200

Ask = Callable[[Sequence[str], str, datetime], Awaitable[str]]


class AlertsPage:
    """The page; `show` brings it up to date. `ask` acknowledges, and says why it was refused; without it
    there are no buttons."""

    def __init__(self, ask: Ask | None) -> None:
        self._frame = Frame("Alerts")
        with self._frame.content:
            with box("page-head"):
                Text("Alerts", "page-title", "h1")
            Text("Standing", "section-title", "h2")
            acknowledge = AcknowledgeForm(ask).open if ask is not None else None
            self._standing = AlertRows(ROWS_MAX, "No alert needs anybody.", acknowledge=acknowledge)
            Text("Shelved", "section-title", "h2")
            self._shelved = AlertRows(ROWS_MAX, "No alert is shelved.")
            Text("Cleared", "section-title", "h2")
            self._cleared = AlertRows(ROWS_MAX, "No alert has been cleared yet.")

    def show(self, alerts: AlertList, snapshot: FleetSnapshot) -> None:
        """What waits for a person first, the gravest of it on top; then what is shelved and cleared."""
        self._frame.show(snapshot)
        aside = {AlertStatus.SHELVED: self._shelved, AlertStatus.CLEARED: self._cleared}
        standing = [alert for alert in alerts.alerts if alert.status not in aside]
        self._standing.show(sorted(standing, key=_urgency), snapshot.taken_at)
        for status, rows in aside.items():
            rows.show([a for a in alerts.alerts if a.status is status], snapshot.taken_at)


def _urgency(alert: AlertView) -> tuple[bool, bool, bool]:
    return not alert.to_acknowledge, not alert.standing, alert.severity is not Severity.ALARM


class AcknowledgeForm:
    """Asks for a note; stays where it is while the list behind it is redrawn."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._event: Event = []
        with box("acknowledge", "form").props('data-testid="acknowledge-form"') as self._box:
            self._what = Text(classes="acknowledge-what")
            with box("acknowledge-fields"):
                self._note = _field("Note: what is being done", REASON_CHARS_MAX, "note")
                with box("act", "button").props('type="submit" data-testid="acknowledge-send"'):
                    Text("Acknowledge", tag="span")
                with box("act", "button").props('type="button"') as cancel:
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

    def _refuse(self, why: str) -> None:
        self._refused.show(why)
        visible(self._refused, bool(why))


def _field(label: str, chars_max: int, name: str) -> ui.input:
    field = ui.input(label).props(f'outlined dense maxlength={chars_max} data-testid="acknowledge-{name}"')
    return field.classes(f"acknowledge-{name}")
