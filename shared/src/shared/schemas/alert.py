"""What an operator must know now, and what an operator did about it."""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from shared.schemas.base import ComponentRecord, UtcTime

OPERATOR_CHARS_MAX = 100
REASON_CHARS_MAX = 500


class AlertKind(StrEnum):
    RUL_LOW = "rul_low"
    ANOMALY = "anomaly"
    LIMIT = "limit"
    SENSOR = "sensor"


class Severity(StrEnum):
    WARNING = "warning"
    ALARM = "alarm"


class AlertState(StrEnum):
    """A transition of an alert, and so the state that it leaves the alert in (ISA-18.2's words beside)."""

    RAISED = "raised"  # unacknowledged alarm
    ESCALATED = "escalated"  # the same alert, graver: it stands with its new severity
    RETURNED = "returned"  # returned to normal, unacknowledged: a latching alarm waits for its reset
    SHELVED = "shelved"  # an operator put it aside, for a time
    UNSHELVED = "unshelved"  # the shelving ended: it stands again, unless `returned` or `cleared` follows
    CLEARED = "cleared"  # normal


class Alert(ComponentRecord):
    """One transition of one alert; `alert_id` joins them. Alerts of one event share `event_id`, the id of
    the event's first alert (None: an agent that does not say so).

    `value` and `threshold` are in the unit of what is watched (cycles for `rul_low`). `operator` and
    `reason` say who shelved, unshelved or reset it, and why; `until` when a shelving ends by itself.
    """

    SCHEMA: ClassVar[str] = "alert/1"
    alert_id: str
    event_id: str | None = None
    kind: AlertKind
    severity: Severity
    state: AlertState
    cycle: int | None = None
    subject: str  # the tag, or "rul", or "anomaly"
    value: float | None = None
    threshold: float | None = None
    message: str
    operator: str | None = Field(default=None, max_length=OPERATOR_CHARS_MAX)
    reason: str | None = Field(default=None, max_length=REASON_CHARS_MAX)
    until: UtcTime | None = None
