"""The head of the alarm list: how many alarms are in which state, and in which order they stand."""

from collections.abc import Callable, Sequence

from nicegui import ui

from control_plane.alerts.models import AlertStatus, AlertView
from control_plane.console.parts import Text, attribute, box
from shared.schemas import Severity


def priority(alert: AlertView) -> tuple[bool, bool, bool]:
    """Priority first, then what waits for a person, then what still stands: lowest on top."""
    return alert.severity is not Severity.ALARM, not alert.to_acknowledge, not alert.standing


class AlarmCounts:
    """Numbers of alerts by ISA-18.2's states; a screen reader is told when one changes."""

    STATES = (
        ("Unacknowledged", "alarm", lambda alert: alert.to_acknowledge and alert.standing),
        ("Acknowledged", "normal", lambda alert: alert.acknowledged and alert.standing),
        ("Returned, unacknowledged", "degraded", lambda alert: alert.to_acknowledge and not alert.standing),
        ("Shelved", "normal", lambda alert: alert.status is AlertStatus.SHELVED),
    )

    def __init__(self) -> None:
        self._counts = []
        with box("counts").props('role="status" aria-label="Alerts by state" data-testid="alarm-counts"'):
            for name, level, _ in self.STATES:
                with box("count").props(f'data-level="{level}"') as count:
                    box("shape", "span").props("aria-hidden=true")
                    number = Text("0", "count-number", "span")
                    Text(name, tag="span")
                self._counts.append((count, number))

    def show(self, alerts: Sequence[AlertView]) -> None:
        """Count them."""
        for (count, number), (_, _, belongs) in zip(self._counts, self.STATES, strict=True):
            found = sum(map(belongs, alerts))
            number.show(str(found))
            attribute(count, "data-none", None if found else "")


class SortButtons:
    """By priority, or by time; `chosen` is told whether by time."""

    def __init__(self, chosen: Callable[[bool], None]) -> None:
        self._chosen = chosen
        with box("spans").props('role="group" aria-label="Order"'):
            self._buttons = [self._button("By priority", False), self._button("Newest first", True)]
        self._mark(False)

    def _button(self, text: str, by_time: bool) -> ui.element:
        with ui.element("button").classes("span").props('type="button"') as button:
            Text(text, tag="span")
            button.on("click", lambda: self._press(by_time))
        return button

    def _press(self, by_time: bool) -> None:
        self._mark(by_time)
        self._chosen(by_time)

    def _mark(self, by_time: bool) -> None:
        for button, own in zip(self._buttons, (False, True), strict=True):
            attribute(button, "aria-pressed", "true" if own is by_time else "false")
