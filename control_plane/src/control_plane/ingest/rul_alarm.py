"""When a RUL that was predicted at the centre is critically low. Pure."""

import uuid

from shared.reactor_config import Component
from shared.schemas import Alert, AlertKind, AlertState, ComponentId, PredictionRecord, RulState, Severity


class RulAlarm:
    """One component's: raised at `rul_alarm`, cleared above it by the deadband of its alarm settings.

    A RUL that is withheld changes nothing; one beyond the horizon is normal.
    """

    def __init__(self, place: ComponentId, component: Component) -> None:
        self._place, self._limit = place, component.thresholds.rul_alarm
        self._clear = self._limit * (1 + component.alarms.rul_low.deadband)
        self._standing: Alert | None = None

    def resume(self, alert: Alert) -> None:
        """This alert stands."""
        self._standing = alert

    def after(self, record: PredictionRecord) -> Alert | None:
        """The alert that this prediction raises or clears."""
        if record.rul_state not in (RulState.OK, RulState.BEYOND_HORIZON):
            return None
        rul, standing = record.rul, self._standing
        if standing is None and rul is not None and rul <= self._limit:
            self._standing = self._alert(record, AlertState.RAISED, str(uuid.uuid4()))
            return self._standing
        if standing is not None and (rul is None or rul > self._clear):
            self._standing = None
            return self._alert(record, AlertState.CLEARED, standing.alert_id)
        return None

    def _alert(self, record: PredictionRecord, state: AlertState, alert_id: str) -> Alert:
        rul = "beyond the horizon" if record.rul is None else f"{record.rul:.0f} cycles"
        return Alert(
            **self._place._asdict(),
            timestamp=record.timestamp,
            alert_id=alert_id,
            kind=AlertKind.RUL_LOW,
            severity=Severity.ALARM,
            state=state,
            cycle=record.cycle,
            subject="rul",
            value=record.rul,
            threshold=self._limit,
            message=f"RUL {rul}, limit {self._limit:g}, predicted at the centre",
        )
