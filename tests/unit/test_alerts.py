"""One event, one alert: raised after a delay, cleared after a longer one."""

from datetime import UTC, datetime

import pytest

from edge_agent.scoring import AlertRules
from edge_agent.scoring.alerts import OFF_DELAY, ON_DELAY, SENSOR_ON_DELAY
from shared.reactor_config import parse_fleet
from shared.schemas import AlertKind, ComponentId, Prediction, Severity, Telemetry

PUMP = ComponentId("TX01", "R1", "coolant_pump")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECTION = {"thresholds": {"rul_warning": 25, "rul_alarm": 10, "limits": {"flow_rate": {"low": 100}}}}
COMPONENT = parse_fleet({"TX01": {"R1": {"coolant_pump": SECTION}}}, "test").components()[PUMP]


@pytest.fixture
def rules():
    return AlertRules(PUMP, COMPONENT)


def reading(flow=300.0, **quality):
    metrics = {tag: 1.0 for tag in COMPONENT.tags if tag not in quality} | {"flow_rate": flow}
    metrics = {tag: value for tag, value in metrics.items() if tag not in quality}
    return Telemetry(timestamp=NOW, **PUMP._asdict(), cycle=1, metrics=metrics, quality=quality)


def prediction(is_anomaly=False, rul=80.0, state="ok"):
    return Prediction(
        timestamp=NOW, **PUMP._asdict(), prediction_id="p", cycle=1,
        model={"name": "m", "version": 1, "sha256": "0" * 64}, feature_spec_hash="0" * 64,
        window_sha256="0" * 64, rul_state=state, rul=rul if state == "ok" else None, anomaly_score=2.0,
        anomaly_threshold=1.0, is_anomaly=is_anomaly, ood_score=0, ood_threshold=1, is_ood=False, raw={},
        inference_time_ms=1, runtime="test",
    )  # fmt: skip


def feed(rules, record, times):
    return [alert for _ in range(times) for alert in rules.update(record)]


def test_an_anomaly_is_raised_once_and_cleared_once(rules):
    assert feed(rules, prediction(is_anomaly=True), ON_DELAY - 1) == []
    [raised] = feed(rules, prediction(is_anomaly=True), 20)
    assert (raised.kind, raised.state, raised.severity) == (AlertKind.ANOMALY, "raised", Severity.WARNING)
    assert feed(rules, prediction(), OFF_DELAY - 1) == []
    [cleared] = feed(rules, prediction(), 20)
    assert (cleared.state, cleared.alert_id) == ("cleared", raised.alert_id)


def test_one_bad_score_between_good_ones_is_no_event(rules):
    for _ in range(10):
        assert feed(rules, prediction(is_anomaly=True), 1) == []
        assert feed(rules, prediction(), 1) == []


def test_a_good_score_in_between_does_not_clear(rules):
    feed(rules, prediction(is_anomaly=True), ON_DELAY)
    for _ in range(10):
        assert feed(rules, prediction(), 1) + feed(rules, prediction(is_anomaly=True), 1) == []


def test_a_second_event_is_a_second_alert(rules):
    [first] = feed(rules, prediction(is_anomaly=True), ON_DELAY)
    feed(rules, prediction(), OFF_DELAY)
    [second] = feed(rules, prediction(is_anomaly=True), ON_DELAY)
    assert first.alert_id != second.alert_id


def test_a_falling_rul_warns_and_then_alarms(rules):
    [warning] = feed(rules, prediction(rul=25.0), ON_DELAY)
    [alarm] = feed(rules, prediction(rul=10.0), ON_DELAY)
    assert (warning.severity, alarm.severity) == (Severity.WARNING, Severity.ALARM)
    assert warning.kind is alarm.kind is AlertKind.RUL_LOW


def test_a_withheld_rul_neither_raises_nor_clears(rules):
    feed(rules, prediction(rul=5.0), ON_DELAY)
    assert feed(rules, prediction(state="withheld"), 20) == []
    assert {a.state for a in feed(rules, prediction(state="beyond_horizon"), OFF_DELAY)} == {"cleared"}


def test_a_limit_is_named_with_its_value_and_unit(rules):
    [alert] = feed(rules, reading(flow=42.0), ON_DELAY)
    assert (alert.kind, alert.subject, alert.value, alert.threshold) == (
        AlertKind.LIMIT,
        "flow_rate",
        42.0,
        100.0,
    )
    assert alert.message == "flow_rate 42 kg/s beyond 100 kg/s"


def test_a_value_at_its_limit_is_inside(rules):
    assert feed(rules, reading(flow=100.0), 10) == []


def test_a_sensor_without_a_number_is_called_out_and_is_no_limit_alert(rules):
    assert feed(rules, reading(flow_rate="timeout"), SENSOR_ON_DELAY - 1) == []
    [alert] = feed(rules, reading(flow_rate="timeout"), 10)
    assert (alert.kind, alert.subject) == (AlertKind.SENSOR, "flow_rate")
    assert "timeout" in alert.message
