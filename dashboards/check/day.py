"""A simulated day of a fleet, with injected faults: the records as sites would send them.

Readings come from the simulation. There is no model here: predictions say the truth of the simulation, with
an interval about it, so that their numbers move as a fault makes them move.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from edge_agent.simulation.batch import Batch
from shared.reactor_config import Component, FleetConfig, parse_fleet
from shared.schemas import (
    Alert,
    AlertKind,
    AlertState,
    ComponentId,
    Contribution,
    ModelRef,
    PredictionRecord,
    Quality,
    Record,
    RulState,
    Severity,
    Telemetry,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY_S = 86_400
HORIZON = 1.6  # days: further the model does not see
INTERVAL = 0.2  # of the RUL, to each side
THRESHOLD, NORMAL_SCORE, ABNORMAL_SCORE = 3.0, 0.8, 6.5
FAULTY = ("TX01", "R1")  # the reactor where wear runs away at noon
MODEL_CHANGE = 0.25  # of the day: then version 4 answers
SHADOW_EVERY = 50  # cycles between two answers of a shadow, of an opinion of its own

Row = dict[str, Any]


@dataclass(frozen=True)
class Day:
    """A day of `DAY_S / period_s` cycles; wear and faults stand at the same hours whatever the period."""

    period_s: int

    @property
    def cycles(self) -> int:
        """Of the day."""
        return DAY_S // self.period_s

    def at(self, cycle: int) -> datetime:
        """When the plant showed it."""
        return START + timedelta(seconds=cycle * self.period_s)

    @property
    def end(self) -> datetime:
        """Of the last cycle."""
        return self.at(self.cycles - 1)

    def fleet(self) -> FleetConfig:
        """The repository's sites and components, and a site with every other type."""
        pump, exchanger = self._wearing("exponential"), self._wearing("linear")
        away = {"type": "accelerated_decay", "at_cycle": self.cycles // 2, "size": 8}
        faulty = {**pump, "faults": (away, self._dropout())}
        sound = {"coolant_pump": {**pump, "faults": (self._dropout(),)}, "heat_exchanger": exchanger}
        other = ("feedwater_pump", "control_rod_drive", "motor_operated_valve", "pressuriser_heater")
        others = {name: {**pump, "faults": (self._dropout(),)} for name in other}
        plant = {"poll_period_s": float(self.period_s), "timeout_s": 0.5}
        document = {
            "TX01": {
                "plant": plant,
                "R1": {"coolant_pump": faulty, "heat_exchanger": exchanger},
                "R2": sound,
            },
            "ID01": {"plant": plant, "R1": sound},
            "RIG01": {"plant": plant, "LOOP1": {"reactor_type": "test_rig", "pump_rig": {}}},
            "ALL01": {"plant": plant, "R1": others},
        }
        return parse_fleet(document, "the simulated day")

    def _wearing(self, law: str) -> Row:
        """A unit that lasts a little longer than two days."""
        rate = 0.6 / self.cycles
        wear = {"lambda": rate} if law == "exponential" else {"slope": rate / 2}
        return {"decay_type": law, **wear, "faults": (self._dropout(),)}

    def _dropout(self) -> Row:
        lasts = max(2, self.cycles // 100)
        return {"type": "sensor_dropout", "at_cycle": self.cycles // 10, "duration_cycles": lasts}


def readings(day: Day, key: ComponentId, config: Component) -> Iterator[Row]:
    """What the plant shows at each cycle: tags (NaN: none), `true_RUL` and `fault`."""
    if config.type == "pump_rig":  # recorded, not simulated
        yield from _rig(day, config)
        return
    for table in Batch(key, config, day.cycles).histories():
        names = [*config.tags, "true_RUL", "fault"]
        columns = [table[name].to_pylist() for name in names]
        for values in zip(*columns, strict=True):
            yield dict(zip(names, values, strict=True))


def records(day: Day, key: ComponentId, config: Component) -> Iterator[list[Record]]:
    """Of each cycle: reading, prediction, and what became of alerts."""
    chance = np.random.default_rng(7)
    alerts = Alerts(key, config)
    for cycle, row in enumerate(readings(day, key, config)):
        when, bad = day.at(cycle), sorted(tag for tag in config.tags if row[tag] != row[tag])
        prediction = _prediction(day, key, config, cycle, row, bad, float(chance.normal(0, 0.1)))
        made: list[Record] = [
            Telemetry.model_construct(
                timestamp=when,
                **key._asdict(),
                cycle=cycle,
                metrics={tag: row[tag] for tag in config.tags if tag not in bad},
                quality=dict.fromkeys(bad, Quality.TIMEOUT),
            ),
            prediction,
            *alerts.see(prediction),
        ]
        if cycle % SHADOW_EVERY == 0:
            made.append(_shadow_of(prediction))
        yield made


class Alerts:
    """Raised, escalated and cleared by RUL and anomaly as they cross their limits."""

    def __init__(self, key: ComponentId, config: Component) -> None:
        self._key, self._limits = key, config.thresholds
        self._standing: dict[AlertKind, Severity] = {}

    def see(self, answer: PredictionRecord) -> Iterator[Alert]:
        """What changes with this answer."""
        severity = None
        if answer.rul is not None and answer.rul <= self._limits.rul_warning:
            severity = Severity.ALARM if answer.rul <= self._limits.rul_alarm else Severity.WARNING
        yield from self._to(answer, AlertKind.RUL_LOW, severity, answer.rul or 0.0, self._limits.rul_warning)
        abnormal = Severity.ALARM if answer.is_anomaly else None
        yield from self._to(answer, AlertKind.ANOMALY, abnormal, answer.anomaly_score, THRESHOLD)

    def _to(
        self, answer: PredictionRecord, kind: AlertKind, now: Severity | None, value: float, limit: float
    ) -> Iterator[Alert]:
        before = self._standing.get(kind)
        if now is before:
            return
        state = AlertState.RAISED if before is None else AlertState.ESCALATED if now else AlertState.CLEARED
        if now:
            self._standing[kind] = now
        else:
            del self._standing[kind]
        yield Alert(
            timestamp=answer.timestamp, **self._key._asdict(), alert_id=f"{self._key.key}:{kind}", kind=kind,
            severity=now or before or Severity.ALARM, state=state, cycle=answer.cycle, subject=kind,
            value=value, threshold=limit, message=f'{kind} is "{state}": {value:.4g}, limit {limit:g}',
        )  # fmt: skip


def _prediction(
    day: Day, key: ComponentId, config: Component, cycle: int, row: Row, bad: list[str], noise: float
) -> PredictionRecord:
    horizon = HORIZON * day.cycles
    truth = float(row["true_RUL"])
    state = RulState.WITHHELD if bad else RulState.BEYOND_HORIZON if truth > horizon else RulState.OK
    known = state is RulState.OK
    score = (ABNORMAL_SCORE if row["fault"] else NORMAL_SCORE) + noise
    version = 4 if cycle >= MODEL_CHANGE * day.cycles else 3
    return PredictionRecord.model_construct(
        timestamp=day.at(cycle), **key._asdict(), prediction_id=f"{key.key}:{cycle}", cycle=cycle,
        model=ModelRef(name=f"{config.type}_rul", version=version, sha256="a" * 64),
        feature_spec_hash="f" * 64, window_sha256="e" * 64, rul_state=state,
        rul=truth if known else None,
        rul_low=truth * (1 - INTERVAL) if known else None,
        rul_high=truth * (1 + INTERVAL) if known else None,
        withheld_because=f"sensor_invalid:{bad[0]}" if bad else None,
        anomaly_score=score, anomaly_threshold=THRESHOLD, is_anomaly=score > THRESHOLD,
        ood_score=0.1, ood_threshold=1.0, is_ood=False, raw={}, contributions=_reasons(config, row),
        inference_time_ms=0.4, runtime="onnxruntime", window=b"", missing={},
    )  # fmt: skip


def _reasons(config: Component, row: Row) -> list[Contribution]:
    if not row["fault"]:
        return []
    tag = next(iter(config.tags))
    value = row[tag] if row[tag] == row[tag] else None
    unit = config.tags[tag].unit
    return [Contribution(tag=tag, of="anomaly", effect=0.8, value=value, normal=1.0, unit=unit)]


def _shadow_of(answer: PredictionRecord) -> PredictionRecord:
    """A worse opinion of an unproven model, which no panel or rule may show as the plant's."""
    model = answer.model.model_copy(update={"mode": "shadow", "version": 9})
    return answer.model_copy(update={"model": model, "rul": 1.0, "rul_low": 0.0, "rul_high": 2.0})


def _rig(day: Day, config: Component) -> Iterator[Row]:
    """In place of a recording: a swing about a level of each tag's own, a sensor away for a while."""
    gone = range(day.cycles // 10, day.cycles // 10 + max(2, day.cycles // 100))
    for cycle in range(day.cycles):
        fault = "sensor_dropout" if cycle in gone else None
        values = {tag: 10.0 * i + float(np.sin(cycle / 40)) for i, tag in enumerate(config.tags, 1)}
        if fault:
            values[next(iter(values))] = float("nan")
        yield {**values, "true_RUL": max(0, day.cycles // 2 - cycle), "fault": fault}
