"""When an operator is told: raised after a delay, cleared after a longer one. Pure.

The delays are in scores or polls (ISA-18.2's on- and off-delay): one event gives one alert.
"""

import uuid
from dataclasses import dataclass
from typing import Literal

from shared.reactor_config import Component
from shared.schemas import Alert, AlertKind, ComponentId, Prediction, RulState, Severity, Telemetry

ON_DELAY = 2  # consecutive scores or readings before an alert is raised
OFF_DELAY = 5  # consecutive good ones before it is cleared
SENSOR_ON_DELAY = 3  # polls without a number before a sensor is called out


@dataclass
class _Watch:
    """One thing that is watched."""

    on_delay: int = ON_DELAY
    alert_id: str | None = None
    bad: int = 0
    good: int = 0

    @property
    def quiet(self) -> bool:
        """Nothing raised, nothing counted towards it: as good as new."""
        return self.alert_id is None and self.bad == 0

    def step(self, is_bad: bool) -> Literal["raised", "cleared"] | None:
        """Count one more; the transition that it leads to, if any."""
        self.bad, self.good = (self.bad + 1, 0) if is_bad else (0, self.good + 1)
        if self.alert_id is None and self.bad >= self.on_delay:
            self.alert_id = str(uuid.uuid4())
            return "raised"
        if self.alert_id is not None and self.good >= OFF_DELAY:
            return "cleared"
        return None


class AlertRules:
    """The alerts of one component; fed with every reading and every prediction, in order."""

    def __init__(self, component_id: ComponentId, component: Component) -> None:
        self._id = component_id
        self._component = component
        self._watches: dict[tuple[AlertKind, str], _Watch] = {}

    def update(self, record: Telemetry | Prediction) -> list[Alert]:
        """Transitions that this record leads to."""
        found = self._of_telemetry(record) if isinstance(record, Telemetry) else self._of_prediction(record)
        return [alert for alert in found if alert is not None]

    def _of_telemetry(self, record: Telemetry) -> list[Alert | None]:
        alerts = []
        for tag in self._troubled(record):
            reason = record.quality.get(tag)
            message = f"{tag} gives no number: {reason}" if reason else f"{tag} reads again"
            alerts.append(
                self._watch(
                    record, AlertKind.SENSOR, tag, reason is not None, message, on_delay=SENSOR_ON_DELAY
                )
            )
        for tag, limit in self._component.thresholds.limits.items():
            value = record.metrics.get(tag)
            if value is None:
                continue  # no number: neither inside nor outside
            broken = next(
                (
                    b
                    for b, out in ((limit.low, -1), (limit.high, 1))
                    if b is not None and (value - b) * out > 0
                ),
                None,
            )
            unit = self._component.tags[tag].unit
            message = f"{tag} {value:.4g} {unit}" + (
                f" beyond {broken:g} {unit}" if broken is not None else ""
            )
            alerts.append(
                self._watch(
                    record, AlertKind.LIMIT, tag, broken is not None, message, Severity.ALARM, value, broken
                )
            )
        return alerts

    def _troubled(self, record: Telemetry) -> list[str]:
        """Tags without a number now or lately: a device may have thousands that are well."""
        watched = [tag for kind, tag in self._watches if kind is AlertKind.SENSOR]
        return list(dict.fromkeys([*record.quality, *watched]))

    def _of_prediction(self, record: Prediction) -> list[Alert | None]:
        score, threshold = record.anomaly_score, record.anomaly_threshold
        message = f"anomaly score {score:.2f}, threshold {threshold:.2f}"
        alerts = [
            self._watch(
                record,
                AlertKind.ANOMALY,
                "anomaly",
                record.is_anomaly,
                message,
                Severity.WARNING,
                score,
                threshold,
            )
        ]
        if record.rul_state in (RulState.OK, RulState.BEYOND_HORIZON):  # else nothing is known of the RUL
            rul = record.rul
            limits = self._component.thresholds
            for severity, limit in (
                (Severity.WARNING, limits.rul_warning),
                (Severity.ALARM, limits.rul_alarm),
            ):
                message = (
                    f"RUL {rul:.0f} cycles, limit {limit:g}" if rul is not None else "RUL beyond the horizon"
                )
                low = rul is not None and rul <= limit
                alerts.append(
                    self._watch(
                        record, AlertKind.RUL_LOW, f"rul {severity}", low, message, severity, rul, limit
                    )
                )
        return alerts

    def _watch(
        self,
        record: Telemetry | Prediction,
        kind: AlertKind,
        subject: str,
        is_bad: bool,
        message: str,
        severity: Severity = Severity.WARNING,
        value: float | None = None,
        threshold: float | None = None,
        on_delay: int = ON_DELAY,
    ) -> Alert | None:
        watch = self._watches.setdefault((kind, subject), _Watch(on_delay))
        transition = watch.step(is_bad)
        if watch.quiet:
            del self._watches[kind, subject]
        if transition is None or watch.alert_id is None:
            return None
        alert_id = watch.alert_id
        if transition == "cleared":
            watch.alert_id = None
        return Alert(
            timestamp=record.timestamp,
            **self._id._asdict(),
            alert_id=alert_id,
            kind=kind,
            severity=severity,
            state=transition,
            cycle=record.cycle,
            subject=subject,
            value=value,
            threshold=threshold,
            message=message,
        )
