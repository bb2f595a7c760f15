"""A day of a pump that leaks and wears out, against the benchmarks of EEMUA 191 and ISA-18.2."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest

from edge_agent.alarms.hygiene import measure
from edge_agent.scoring import AlertRules
from edge_agent.simulation import ReactorSimulator
from shared.reactor_config import parse_fleet
from shared.schemas import Alert, AlertState, ComponentId, Prediction, Telemetry

PUMP = ComponentId("TX01", "R1", "feedwater_pump")
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY, POLL_S = timedelta(days=1), 10
CYCLES = DAY // timedelta(seconds=POLL_S)
FAULT, REPAIRED = 3_000, 7_000  # cycles: it begins to leak; it has failed and is replaced
LIMIT = 20.0  # L/h: reached by wear that adds to the leak, so that noise crosses it for a while
SECTION = {
    "decay_type": "linear",
    "slope": 0.0001,
    "thresholds": {"limits": {"seal_leakage": {"high": LIMIT}}},
}
COMPONENT = parse_fleet({"TX01": {"R1": {"feedwater_pump": SECTION}}}, "test").components()[PUMP]


def lives(seed: int):
    """The day's columns: one unit until it has failed, then a new one."""
    first, second = (ReactorSimulator(COMPONENT, **PUMP._asdict(), random_seed=s) for s in (seed, seed + 1))
    sound = first.simulate(FAULT)
    first.inject_fault("leak")
    parts = [sound, first.simulate(REPAIRED - FAULT), second.simulate(CYCLES - REPAIRED)]
    return {name: np.concatenate([part[name] for part in parts]) for name in sound}


def stub_scores(columns, random):
    """A score that hovers at its threshold of 6 once it leaks, and a RUL with a tenth of noise."""
    leaks = columns["seal_leakage"] > 8
    score = np.maximum(0, np.where(leaks, 6.0, 1.0) + random.normal(0, 0.3, CYCLES))
    rul = columns["true_RUL"] * (1 + random.normal(0, 0.1, CYCLES))
    return score, np.where(rul > 125, np.nan, np.maximum(0, rul))


def prediction(now, score, rul):
    known = not np.isnan(rul)
    return Prediction(
        timestamp=now, **PUMP._asdict(), prediction_id="p", cycle=1,
        model={"name": "m", "version": 1, "sha256": "0" * 64}, feature_spec_hash="0" * 64,
        window_sha256="0" * 64, rul_state="ok" if known else "beyond_horizon", rul=rul if known else None,
        anomaly_score=score, anomaly_threshold=6.0, is_anomaly=score > 6.0, ood_score=0, ood_threshold=1,
        is_ood=False, raw={}, inference_time_ms=1, runtime="test",
    )  # fmt: skip


def played(columns, score, rul, random) -> list[Alert]:
    """What the rules say over the day; now and then a reading is missing."""
    rules, told = AlertRules(PUMP, COMPONENT), []
    for cycle in range(CYCLES):
        now = START + timedelta(seconds=POLL_S * cycle)
        metrics = {tag: float(columns[tag][cycle]) for tag in COMPONENT.tags}
        quality = {}
        if random.random() < 0.01:
            metrics.pop("flow_rate")
            quality["flow_rate"] = "timeout"
        reading = Telemetry(timestamp=now, **PUMP._asdict(), cycle=cycle, metrics=metrics, quality=quality)
        told += rules.update(reading)
        told += rules.update(prediction(now, float(score[cycle]), float(rul[cycle])))
    return told


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_fault_of_a_day_is_one_event_within_the_benchmarks(seed):
    """One leak is one event of a few alerts; an operator is called far less than every ten minutes."""
    random = np.random.default_rng(seed)
    columns = lives(seed)
    score, rul = stub_scores(columns, random)
    crossings = sum(
        not before and after
        for series in (score > 6.0, columns["seal_leakage"] > LIMIT, rul <= 25)
        for before, after in pairwise(series.tolist())
    )
    assert crossings > 500  # what would be raised without any hygiene
    found = measure(played(columns, score, rul, random), DAY)
    assert found.events == 1
    assert found.alerts <= 5  # anomaly, limit, RUL; one that comes back after its window has another id
    assert found.acceptable
    assert found.calls <= 12
    assert found.stale == 0


def alert(minutes: float, alert_id: str = "a", state: str = "raised", event_id: str | None = None) -> Alert:
    return Alert(
        timestamp=START + timedelta(minutes=minutes), **PUMP._asdict(), alert_id=alert_id, event_id=event_id,
        kind="anomaly", severity="warning", state=state, subject="anomaly", message="m",
    )  # fmt: skip


def test_a_flood_and_chatter_and_a_stale_alert_are_counted():
    """The measure itself: each of the benchmarks can be missed."""
    flood = measure([alert(i / 2, f"a{i}", event_id="a0") for i in range(12)], timedelta(hours=8))
    assert (flood.worst_ten_minutes, flood.events, flood.alerts, flood.acceptable) == (12, 1, 12, False)
    chatter = [alert(i / 3, state=s) for i, s in enumerate(["raised", "cleared"] * 3)]
    assert measure(chatter, timedelta(hours=8)).chattering == 0  # three within 80 s
    quicker = [alert(i / 5, state=s) for i, s in enumerate(["raised", "cleared"] * 3)]
    assert measure(quicker, timedelta(hours=8)).chattering == 1
    assert measure([alert(0), alert(25 * 60, "b")], timedelta(hours=26)).stale == 1
    ended = [alert(0), alert(60, state=AlertState.CLEARED), alert(25 * 60, "b")]
    assert measure(ended, timedelta(hours=26)).stale == 0
