"""An alert as people and programs are shown it: on the console, by the API, in a notice."""

from enum import StrEnum

from pydantic import Field, computed_field

from shared.schemas import AlertKind, Frozen, Severity, UtcTime
from shared.schemas.alert import OPERATOR_CHARS_MAX, REASON_CHARS_MAX


class AlertStatus(StrEnum):
    """Where an alert stands, whatever transition led there (ISA-18.2's states beside)."""

    RAISED = "raised"  # unacknowledged alarm
    ACKNOWLEDGED = "acknowledged"  # acknowledged alarm: it stands, and a person has taken it on
    RETURNED = "returned"  # latched: normal again, it waits for its reset at the site
    RETURNED_UNACKNOWLEDGED = "returned_unacknowledged"  # normal again before anybody acknowledged it
    SHELVED = "shelved"  # put aside by an operator of the site
    CLEARED = "cleared"  # normal


class Acknowledgement(Frozen):
    """Who took an alert on, when and with what words; what happened to it later is not covered."""

    who: str = Field(min_length=1, max_length=OPERATOR_CHARS_MAX)
    note: str = Field(default="", max_length=REASON_CHARS_MAX)
    at: UtcTime
    through: tuple[UtcTime, int]  # the newest transition that it covers


class AlertView(Frozen):
    """An alert from its raising to its clearing; `standing` while its condition holds or is latched.

    `operator`, `reason` and `until` are those of the last thing that an operator of the site did to it,
    if it was the last thing that happened. Alerts of one event share `event_id`. `acknowledgement` is
    the last one; `acknowledged` says whether it covers what has happened since.
    """

    alert_id: str
    event_id: str
    site_id: str
    reactor_id: str
    component: str
    kind: AlertKind
    severity: Severity
    subject: str
    message: str
    value: float | None
    threshold: float | None
    cycle: int | None
    raised_at: UtcTime | None
    cleared_at: UtcTime | None
    changed_at: UtcTime
    status: AlertStatus
    operator: str | None = None
    reason: str | None = None
    until: UtcTime | None = None
    acknowledged: bool = False
    acknowledgement: Acknowledgement | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def standing(self) -> bool:
        """Whether its condition holds, or it is latched."""
        return self.status in (AlertStatus.RAISED, AlertStatus.ACKNOWLEDGED, AlertStatus.RETURNED)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def to_acknowledge(self) -> bool:
        """Whether a person is waited for."""
        waits = (AlertStatus.RAISED, AlertStatus.RETURNED, AlertStatus.RETURNED_UNACKNOWLEDGED)
        return self.status in waits and not self.acknowledged
