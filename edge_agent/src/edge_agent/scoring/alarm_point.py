"""One alarm point as a state machine (ISA-18.2, clause 5.4): pure, without a clock.

                 on-delay                 off-delay, latching
      NORMAL -------------> RAISED -------------------------> RETURNED
        ^  ^                 |   ^                               |  |
        |  +--- off-delay ---+   +----------- on-delay ----------+  |
        +------------------------- reset ---------------------------+

Beside it stands the shelf: while a point is shelved it moves on in silence, and says where it has come to
when the shelving ends. What grows graver than what was shelved ends the shelving.
"""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from shared.alarm_config import AlarmSettings
from shared.schemas import AlertState, Severity

# Readings or scores. Three alarms a minute are chattering (ISA-18.2), and a poll a second is usual: what is
# raised again within this many is the same alert, and is held for longer each time, up to this many.
CHATTER_WINDOW = 60
DOUBLINGS_MAX = 16  # of the off-delay: 2^16 is beyond every window


class Phase(StrEnum):
    """What is the matter, shelved or not."""

    NORMAL = "normal"
    RAISED = "raised"
    RETURNED = "returned"  # normal again, and latched


class Shelf(NamedTuple):
    """Who put an alert aside, why, for how long, how grave it was, and by which request."""

    operator: str
    reason: str
    since: datetime
    until: datetime
    severity: Severity
    request: str = ""


class AlarmPoint:
    """Counts what it is told and moves; every move that an operator must hear of is returned, in order."""

    def __init__(self, settings: AlarmSettings) -> None:
        self._settings = settings
        self.phase = Phase.NORMAL
        self.alert_id: str | None = None
        self.severity = Severity.WARNING
        self.shelf: Shelf | None = None
        self.chatter = 0  # how often it was raised again soon after it had become normal
        self._abnormal = self._grave = self._normal = 0  # consecutive ones
        self._since_normal = 0

    @property
    def standing(self) -> bool:
        """Whether the condition holds, as far as the delays let it be known."""
        return self.phase is Phase.RAISED

    @property
    def remembered(self) -> bool:
        """Whether it has an alert that a later one may still belong to."""
        return self.alert_id is not None

    @property
    def quiet(self) -> bool:
        """As good as new."""
        return not self.remembered and self._abnormal == 0

    @property
    def off_delay(self) -> int:
        """Normal ones before it clears; longer for what chatters."""
        usual = self._settings.off_delay
        return min(usual << self.chatter, max(usual, CHATTER_WINDOW))

    def step(self, found: Severity | None) -> list[AlertState]:
        """One more reading or score: how abnormal it is, or None for normal."""
        self._count(found)
        moved = self._move()
        if self.shelf is None or moved is None:
            return [] if moved is None else [moved]
        if self.standing and self.severity is Severity.ALARM and self.shelf.severity is Severity.WARNING:
            self.shelf = None
            return [AlertState.UNSHELVED, AlertState.ESCALATED]
        return []

    def _count(self, found: Severity | None) -> None:
        self._abnormal = self._abnormal + 1 if found else 0
        self._grave = self._grave + 1 if found is Severity.ALARM else 0
        self._normal = 0 if found else self._normal + 1
        if not self.standing:
            self._since_normal += 1
            if self._since_normal > CHATTER_WINDOW:
                self._calm_down()

    def _calm_down(self) -> None:
        self.chatter = 0
        if self.phase is Phase.NORMAL and self.shelf is None:
            self.alert_id = None

    def _move(self) -> AlertState | None:
        if not self.standing:
            return self._raise() if self._abnormal >= self._settings.on_delay else None
        if self.severity is Severity.WARNING and self._grave >= self._settings.on_delay:
            self.severity = Severity.ALARM
            return AlertState.ESCALATED
        if self._normal >= self.off_delay:
            return self._end()
        return None

    def _raise(self) -> AlertState:
        if self.alert_id is None:
            self.alert_id = str(uuid.uuid4())
        elif self._since_normal <= CHATTER_WINDOW:
            self.chatter = min(self.chatter + 1, DOUBLINGS_MAX)
        self.phase = Phase.RAISED
        self.severity = Severity.ALARM if self._grave >= self._settings.on_delay else Severity.WARNING
        return AlertState.RAISED

    def _end(self) -> AlertState:
        self._since_normal = 0
        self.phase = Phase.RETURNED if self._settings.latching else Phase.NORMAL
        return AlertState.RETURNED if self._settings.latching else AlertState.CLEARED

    # --- what an operator does --------------------------------------------------------------------

    def shelve(self, shelf: Shelf) -> list[AlertState]:
        """Put the alert aside; one that is shelved already is shelved anew. ValueError where none stands."""
        if self.shelf is None and self.phase is Phase.NORMAL:
            raise ValueError("it has cleared; only an alert that stands can be shelved")
        self.shelf = shelf
        return [AlertState.SHELVED]

    def unshelve(self) -> list[AlertState]:
        """End the shelving and say what is the matter now. ValueError where it is not shelved."""
        if self.shelf is None:
            raise ValueError("it is not shelved")
        self.shelf = None
        now = {Phase.RAISED: [], Phase.RETURNED: [AlertState.RETURNED], Phase.NORMAL: [AlertState.CLEARED]}
        return [AlertState.UNSHELVED, *now[self.phase]]

    def reset(self) -> list[AlertState]:
        """End a latched alert that has returned to normal. ValueError where it has not."""
        if self.phase is not Phase.RETURNED:
            why = "its condition still holds" if self.standing else "it has cleared"
            raise ValueError(f"{why}; only an alert that has returned to normal can be reset")
        self.phase, self.shelf, self._since_normal = Phase.NORMAL, None, 0
        return [AlertState.CLEARED]

    def resume(
        self, phase: Phase, alert_id: str, severity: Severity, shelf: Shelf | None, chatter: int
    ) -> None:
        """Go on where an earlier run ended. Delays are counted anew: nothing clears too soon."""
        self.phase, self.alert_id, self.severity = phase, alert_id, severity
        self.shelf, self.chatter = shelf, chatter
