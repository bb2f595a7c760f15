"""What an operator must know now."""

from enum import StrEnum
from typing import ClassVar, Literal

from shared.schemas.base import ComponentRecord


class AlertKind(StrEnum):
    RUL_LOW = "rul_low"
    ANOMALY = "anomaly"
    LIMIT = "limit"
    SENSOR = "sensor"


class Severity(StrEnum):
    WARNING = "warning"
    ALARM = "alarm"


class Alert(ComponentRecord):
    """One transition of one alert: raised or cleared. `alert_id` joins the two.

    `value` and `threshold` are in the unit of what is watched (cycles for `rul_low`).
    """

    SCHEMA: ClassVar[str] = "alert/1"
    alert_id: str
    kind: AlertKind
    severity: Severity
    state: Literal["raised", "cleared"]
    cycle: int | None = None
    subject: str  # the tag, or "rul", or "anomaly"
    value: float | None = None
    threshold: float | None = None
    message: str
