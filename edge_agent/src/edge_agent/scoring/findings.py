"""What one record says of each alarm point of its component: limits, deadbands and words. Pure."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from shared.operation import STANDSTILL
from shared.reactor_config import Component, Limit
from shared.schemas import AlertKind, Prediction, RulState, Severity, Telemetry


class PointId(NamedTuple):
    """An alarm point of a component: at most one alert of it stands."""

    kind: AlertKind
    subject: str  # the tag, or "rul", or "anomaly"


class Finding(NamedTuple):
    """How abnormal a point is (None: normal), by what value against what limit."""

    point: PointId
    severity: Severity | None
    message: str
    value: float | None = None
    threshold: float | None = None


ANOMALY = PointId(AlertKind.ANOMALY, "anomaly")
RUL = PointId(AlertKind.RUL_LOW, "rul")
Standing = Callable[[PointId], bool]  # whether an alert stands there: then the deadband counts


def is_point(component: Component, point: PointId) -> bool:
    """Whether the configuration has this point."""
    known: dict[AlertKind, Iterable[str]] = {
        AlertKind.LIMIT: component.thresholds.limits,
        AlertKind.SENSOR: component.tags,
        AlertKind.ANOMALY: [ANOMALY.subject],
        AlertKind.RUL_LOW: [RUL.subject],
    }
    return point.subject in known[point.kind]


def of_sensors(record: Telemetry, watched: Iterable[str]) -> Iterator[Finding]:
    """Tags without a number now, or `watched`: a device may have thousands that are well."""
    for tag in dict.fromkeys([*record.quality, *watched]):
        reason = record.quality.get(tag)
        message = f"{tag} gives no number: {reason}" if reason else f"{tag} reads again"
        yield Finding(PointId(AlertKind.SENSOR, tag), Severity.WARNING if reason else None, message)


def of_limits(record: Telemetry, component: Component, standing: Standing) -> Iterator[Finding]:
    """Tags with a fixed limit and a number: without one a tag is neither inside nor outside."""
    for tag, limit in component.thresholds.limits.items():
        value = record.metrics.get(tag)
        if value is None:
            continue
        point, unit = PointId(AlertKind.LIMIT, tag), component.tags[tag].unit
        within = _deadband(limit, component.alarms.limit.deadband) if standing(point) else (0.0, 0.0)
        broken = _broken(limit, value, *within)
        message = f"{tag} {value:.4g} {unit}" + (f" beyond {broken:g} {unit}" if broken is not None else "")
        yield Finding(point, None if broken is None else Severity.ALARM, message, value, broken)


def _deadband(limit: Limit, share: float) -> tuple[float, float]:
    """How far inside the lower and the upper limit a value has to be, so that it can be inside both."""
    if limit.deadband is not None:
        return limit.deadband, limit.deadband
    both = limit.low is not None and limit.high is not None
    most = (limit.high - limit.low) / 4 if both else float("inf")  # type: ignore[operator]
    return min(share * abs(limit.low or 0.0), most), min(share * abs(limit.high or 0.0), most)


def _broken(limit: Limit, value: float, low_by: float, high_by: float) -> float | None:
    """The limit that the value is beyond, or not yet inside of by its deadband."""
    if limit.low is not None and value < limit.low + low_by:
        return limit.low
    if limit.high is not None and value > limit.high - high_by:
        return limit.high
    return None


def of_prediction(record: Prediction, component: Component, standing: Standing) -> Iterator[Finding]:
    """The anomaly score, and the RUL where something is known of it: at a standstill neither is."""
    if record.withheld_because in STANDSTILL:
        return
    score, threshold = record.anomaly_score, record.anomaly_threshold
    band = component.alarms.anomaly.deadband * abs(threshold)
    abnormal = record.is_anomaly or (standing(ANOMALY) and score > threshold - band)
    message = f"anomaly score {score:.2f}, threshold {threshold:.2f}"
    yield Finding(ANOMALY, Severity.WARNING if abnormal else None, message, score, threshold)
    if record.rul_state in (RulState.OK, RulState.BEYOND_HORIZON):
        yield _of_rul(record.rul, component, standing(RUL))


def _of_rul(rul: float | None, component: Component, standing: bool) -> Finding:
    warning, alarm = component.thresholds.rul_warning, component.thresholds.rul_alarm
    if rul is None:
        return Finding(RUL, None, "RUL beyond the horizon", threshold=warning)
    until = warning * (1 + component.alarms.rul_low.deadband) if standing else warning
    severity = Severity.ALARM if rul <= alarm else Severity.WARNING if rul <= until else None
    limit = alarm if severity is Severity.ALARM else warning
    return Finding(RUL, severity, f"RUL {rul:.0f} cycles, limit {limit:g}", rul, limit)
