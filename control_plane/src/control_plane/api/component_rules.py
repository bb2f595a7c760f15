"""What may be said of a component now: pure rules over its newest rows, its configuration and the clock."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from control_plane.alerts.models import AlertStatus, AlertView
from control_plane.api.models import (
    ComponentView,
    Freshness,
    Level,
    ModelView,
    PredictionView,
    Reading,
)
from shared import wording
from shared.reactor_config import Component, Limit
from shared.schemas import ComponentId, Quality, RulState, Severity

STALE_AFTER_PERIODS = 5  # polls that may be missed before a number is no longer the present
STALE_MIN_S = 5.0  # ingest gathers for 1 s, commits, and the view is kept 1 s: under load that is up to 4 s
CLOCK_AHEAD_MAX_S = 5.0  # NTP keeps a site far closer; beyond it an age would be a guess
PREDICTION_LAG_CYCLES_MAX = 5  # a model may skip cycles (bad sensors) that often before it counts as silent
SHORT_DIGITS = 8  # of a SHA-256: enough to tell two releases apart by eye

Row = dict[str, Any]


def stale_after_s(poll_period_s: float) -> float:
    """The age in seconds beyond which a component's newest reading is not the present."""
    return max(STALE_AFTER_PERIODS * poll_period_s, STALE_MIN_S)


class Newest(NamedTuple):
    """A component's newest rows (None: nothing has arrived), and its standing and its shelved alerts."""

    telemetry: Row | None
    prediction: Row | None
    alerts: Sequence[AlertView] = ()


def component_view(
    key: ComponentId, config: Component, poll_period_s: float, newest: Newest, now: datetime
) -> ComponentView:
    """The component at `now`: what is current, and apart from it what was last known."""
    telemetry, prediction, alerts = newest
    limit_s = stale_after_s(poll_period_s)
    fresh = _freshness(telemetry, now, limit_s)
    live = fresh is Freshness.LIVE
    readings = _readings(config, telemetry) if telemetry else []
    answer = _prediction(prediction) if prediction else None
    current = answer if live and _is_current(answer, telemetry, now, limit_s) else None
    shown = readings if live else []
    level, reasons = _level(config, fresh, shown, current, alerts)
    return ComponentView(
        site_id=key.site_id,
        reactor_id=key.reactor_id,
        component=key.component,
        component_type=config.type,
        freshness=fresh,
        age_s=max(0.0, (now - telemetry["timestamp"]).total_seconds()) if telemetry else None,
        stale_after_s=limit_s,
        last_seen=telemetry["timestamp"] if telemetry else None,
        cycle=telemetry["cycle"] if telemetry else None,
        level=level,
        reasons=reasons,
        rul_warning=config.thresholds.rul_warning,
        rul_alarm=config.thresholds.rul_alarm,
        readings=shown,
        last_readings=[] if live else readings,
        prediction=current,
        last_prediction=None if current else answer,
        alerts=list(alerts),
    )


def nothing_new_s(components: Sequence[ComponentView]) -> float | None:
    """How long ago the newest row of all came, where none that was ever heard is current: then it is the
    centre or its broker, sooner than every plant at once."""
    heard = [each for each in components if each.freshness is not Freshness.NEVER]
    if not heard or any(each.freshness is not Freshness.STALE for each in heard):
        return None
    return min(each.age_s or 0.0 for each in heard)


def finite(value: float | None) -> float | None:
    """The number, or None where it is none: a NaN never reaches a page."""
    return value if value is not None and math.isfinite(value) else None


def _freshness(telemetry: Row | None, now: datetime, limit_s: float) -> Freshness:
    if telemetry is None:
        return Freshness.NEVER
    age_s = (now - telemetry["timestamp"]).total_seconds()
    if age_s < -CLOCK_AHEAD_MAX_S:
        return Freshness.CLOCK_AHEAD
    return Freshness.STALE if age_s > limit_s else Freshness.LIVE


def _readings(config: Component, telemetry: Row) -> list[Reading]:
    metrics, quality = dict(telemetry["metrics"] or ()), dict(telemetry["quality"] or ())
    readings = []
    for name, tag in config.tags.items():
        value = finite(metrics.get(name))
        limit = config.thresholds.limits.get(name, Limit())
        readings.append(
            Reading(
                tag=name,
                description=tag.description,
                unit=tag.unit,
                range=tag.range,
                value=value,
                quality=None if value is not None else quality.get(name, Quality.NOT_A_NUMBER),
                low=limit.low,
                high=limit.high,
                outside=_outside(value, limit),
            )
        )
    return readings


def _outside(value: float | None, limit: Limit) -> Literal["low", "high"] | None:
    if value is None:
        return None
    if limit.low is not None and value < limit.low:
        return "low"
    return "high" if limit.high is not None and value > limit.high else None


def _prediction(row: Row) -> PredictionView:
    model = ModelView(
        name=row["model_name"],
        version=row["model_version"],
        sha256=row["model_sha256"],
        short=row["model_sha256"][:SHORT_DIGITS],
    )
    known = row["rul_state"] == RulState.OK
    return PredictionView(
        timestamp=row["timestamp"],
        cycle=row["cycle"],
        rul_state=row["rul_state"],
        rul=finite(row["rul"]) if known else None,
        rul_low=finite(row["rul_low"]) if known else None,
        rul_high=finite(row["rul_high"]) if known else None,
        anomaly_score=finite(row["anomaly_score"]),
        anomaly_threshold=finite(row["anomaly_threshold"]),
        is_anomaly=row["is_anomaly"],
        is_ood=row["is_ood"],
        withheld_because=row["withheld_because"],
        contributions=row["contributions"] or [],
        model=model,
    )


def _is_current(answer: PredictionView | None, telemetry: Row | None, now: datetime, limit_s: float) -> bool:
    """Whether the answer belongs to the present: by time, or by cycle where cycles are slow."""
    if answer is None or telemetry is None:
        return False
    if (now - answer.timestamp).total_seconds() <= limit_s:
        return True
    if answer.cycle is None or telemetry["cycle"] is None:
        return False
    return bool(0 <= telemetry["cycle"] - answer.cycle < PREDICTION_LAG_CYCLES_MAX)


def _level(
    config: Component,
    fresh: Freshness,
    readings: Sequence[Reading],
    answer: PredictionView | None,
    alerts: Sequence[AlertView],
) -> tuple[Level, list[str]]:
    """The gravest finding, and every finding in words, gravest first."""
    found = [_of_alert(alert) for alert in alerts]
    if fresh is not Freshness.LIVE:
        return Level.NO_DATA, [text for _, text in found]
    told = {(alert.kind, alert.subject) for alert in alerts}
    found += _prediction_findings(config, answer, {kind for kind, _ in told})
    found += [
        (Level.WARNING, f"{_words(r.tag)} is {'below' if r.outside == 'low' else 'above'} its limit")
        for r in readings
        if r.outside and ("limit", r.tag) not in told
    ]
    found += [
        (Level.DEGRADED, f"{_words(r.tag)}: {str(r.quality).replace('_', ' ')}")
        for r in readings
        if r.quality and ("sensor", r.tag) not in told
    ]
    order = list(Level)
    found.sort(key=lambda finding: order.index(finding[0]))
    return (found[0][0] if found else Level.NORMAL), [text for _, text in found]


def _of_alert(alert: AlertView) -> tuple[Level, str]:
    """A shelved alert is no alarm, and nothing that is well either."""
    if alert.status is AlertStatus.SHELVED:
        return Level.DEGRADED, f"shelved: {alert.message}"
    if alert.status is AlertStatus.RETURNED:
        return Level.WARNING, f"returned to normal, to be reset: {alert.message}"
    return (Level.ALARM if alert.severity is Severity.ALARM else Level.WARNING), alert.message


def _words(name: str) -> str:
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def _prediction_findings(
    config: Component, answer: PredictionView | None, told: set[str]
) -> list[tuple[Level, str]]:
    """What the model says, where no alert says it already."""
    if answer is None:
        return [(Level.DEGRADED, "no current prediction")]
    found, limits = [], config.thresholds
    if answer.rul is not None and "rul_low" not in told:
        if answer.rul <= limits.rul_alarm:
            found.append((Level.ALARM, f"RUL {answer.rul:.0f} cycles, alarm at {limits.rul_alarm:g}"))
        elif answer.rul <= limits.rul_warning:
            found.append((Level.WARNING, f"RUL {answer.rul:.0f} cycles, warning at {limits.rul_warning:g}"))
    if answer.is_anomaly and "anomaly" not in told:
        found.append((Level.WARNING, "behaviour unlike normal operation"))
    if answer.rul_state is RulState.WITHHELD:
        found.append((Level.DEGRADED, f"RUL withheld: {wording.withheld(answer.withheld_because)}"))
    return found
