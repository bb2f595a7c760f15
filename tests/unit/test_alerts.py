"""One event, one alert: raised after a delay, cleared after a longer one, and what an operator may do."""

from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.scoring import AlertRules, Shelf
from edge_agent.scoring.alarm_point import CHATTER_WINDOW
from shared.alarm_config import AlarmSettings, SensorAlarm
from shared.reactor_config import parse_fleet
from shared.schemas import AlertKind, ComponentId, Prediction, Severity, Telemetry

ON_DELAY, OFF_DELAY = AlarmSettings().on_delay, AlarmSettings().off_delay
SENSOR_ON_DELAY = SensorAlarm().on_delay
PUMP = ComponentId("TX01", "R1", "coolant_pump")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECTION = {"thresholds": {"rul_warning": 25, "rul_alarm": 10, "limits": {"flow_rate": {"low": 100}}}}


def component(**changes):
    section = {"coolant_pump": SECTION | changes}
    return parse_fleet({"TX01": {"R1": section}}, "test").components()[PUMP]


COMPONENT = component()


@pytest.fixture
def rules():
    return AlertRules(PUMP, COMPONENT)


def latching():
    return AlertRules(PUMP, component(alarms={"anomaly": {"latching": True}, "rul_low": {"latching": True}}))


def shelf(hours=1.0, request="", now=NOW):
    return Shelf("A. Reyes", "being repaired", now, now + timedelta(hours=hours), Severity.WARNING, request)


def states(alerts):
    return [alert.state for alert in alerts]


def reading(flow=300.0, **quality):
    metrics = {tag: 1.0 for tag in COMPONENT.tags if tag not in quality} | {"flow_rate": flow}
    metrics = {tag: value for tag, value in metrics.items() if tag not in quality}
    return Telemetry(timestamp=NOW, **PUMP._asdict(), cycle=1, metrics=metrics, quality=quality)


def prediction(is_anomaly=False, rul=80.0, state="ok", score=None):
    return Prediction(
        timestamp=NOW, **PUMP._asdict(), prediction_id="p", cycle=1,
        model={"name": "m", "version": 1, "sha256": "0" * 64}, feature_spec_hash="0" * 64,
        window_sha256="0" * 64, rul_state=state, rul=rul if state == "ok" else None,
        anomaly_score=score or (2.0 if is_anomaly else 0.2),
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


@pytest.mark.parametrize("because", ["not_running", "starting_up"])
def test_a_standstill_neither_clears_what_stands_nor_raises_anything(rules, because):
    """What is said of it then, normal or not, is no score of a component that runs."""
    assert len(feed(rules, prediction(is_anomaly=True, rul=20.0), ON_DELAY)) == 2
    quiet, loud = (
        prediction(abnormal, state="withheld").model_copy(update={"withheld_because": because})
        for abnormal in (False, True)
    )
    assert feed(rules, quiet, 3 * OFF_DELAY) == []
    assert feed(AlertRules(PUMP, COMPONENT), loud, 3 * ON_DELAY) == []
    assert states(feed(rules, prediction(), OFF_DELAY)) == ["cleared", "cleared"]


def test_one_bad_score_between_good_ones_is_no_event(rules):
    for _ in range(10):
        assert feed(rules, prediction(is_anomaly=True), 1) == []
        assert feed(rules, prediction(), 1) == []


def test_a_good_score_in_between_does_not_clear(rules):
    feed(rules, prediction(is_anomaly=True), ON_DELAY)
    for _ in range(10):
        assert feed(rules, prediction(), 1) + feed(rules, prediction(is_anomaly=True), 1) == []


def test_a_second_event_is_a_second_alert(rules):
    """What comes back after the chatter window is another event."""
    [first] = feed(rules, prediction(is_anomaly=True), ON_DELAY)
    feed(rules, prediction(), OFF_DELAY + CHATTER_WINDOW + 1)
    [second] = feed(rules, prediction(is_anomaly=True), ON_DELAY)
    assert first.alert_id != second.alert_id
    assert (first.event_id, second.event_id) == (first.alert_id, second.alert_id)


def test_an_alarm_that_chatters_is_one_alert_and_soon_stands_still(rules):
    """EEMUA 191: the same alert each time, held for longer each time, and then it stands."""
    told = []
    for _ in range(100):
        told += feed(rules, prediction(is_anomaly=True), ON_DELAY) + feed(rules, prediction(), OFF_DELAY)
    assert len({alert.alert_id for alert in told}) == 1
    assert len(told) <= 4
    assert told[-1].state == "raised"


def test_a_falling_rul_is_one_alert_that_escalates(rules):
    [warning] = feed(rules, prediction(rul=25.0), ON_DELAY)
    [alarm] = feed(rules, prediction(rul=10.0), 20)
    assert (warning.state, warning.severity) == ("raised", Severity.WARNING)
    assert (alarm.state, alarm.severity) == ("escalated", Severity.ALARM)
    assert warning.alert_id == alarm.alert_id
    assert warning.kind is alarm.kind is AlertKind.RUL_LOW
    assert states(feed(rules, prediction(rul=20.0), 20)) == []


def test_a_rul_that_is_at_its_alarm_at_once_is_one_alarm(rules):
    [alarm] = feed(rules, prediction(rul=5.0), 20)
    assert (alarm.state, alarm.severity) == ("raised", Severity.ALARM)


def test_a_value_inside_its_limit_by_less_than_the_deadband_does_not_clear():
    """Hysteresis: the limit is crossed outwards at the limit, inwards beyond the deadband."""
    limits = {"flow_rate": {"low": 100, "high": 400, "deadband": 10}}
    rules = AlertRules(PUMP, component(thresholds={"limits": limits}))
    assert feed(rules, reading(flow=395.0), 10) == []
    [raised] = feed(rules, reading(flow=401.0), 10)
    assert feed(rules, reading(flow=391.0), 50) == []
    assert states(feed(rules, reading(flow=389.0), OFF_DELAY)) == ["cleared"]
    assert raised.threshold == 400


def test_score_and_rul_clear_only_inside_by_their_deadbands(rules):
    feed(rules, prediction(is_anomaly=True, rul=20.0), ON_DELAY)
    assert feed(rules, prediction(score=0.95, rul=27.0), 50) == []
    cleared = feed(rules, prediction(score=0.85, rul=28.0), OFF_DELAY)
    assert states(cleared) == ["cleared", "cleared"]


def test_a_deadband_left_out_leaves_room_to_clear():
    """Limits close to each other: the default deadband takes a quarter of the way at most."""
    rules = AlertRules(PUMP, component(thresholds={"limits": {"flow_rate": {"low": 299, "high": 301}}}))
    feed(rules, reading(flow=302.0), ON_DELAY)
    assert states(feed(rules, reading(flow=300.0), OFF_DELAY)) == ["cleared"]


def test_what_a_component_shows_together_is_one_event(rules):
    """Anomaly, RUL and limit share the first alert's id; a dead sensor is another event, with its likes."""
    [limit] = feed(rules, reading(flow=42.0), ON_DELAY)
    rest = feed(rules, prediction(is_anomaly=True, rul=5.0), ON_DELAY)
    dead = feed(rules, reading(shaft_speed="timeout", motor_current="timeout"), SENSOR_ON_DELAY)
    assert {alert.event_id for alert in [limit, *rest]} == {limit.alert_id}
    assert len({alert.alert_id for alert in [limit, *rest, *dead]}) == 5
    assert {alert.event_id for alert in dead} == {dead[0].alert_id}


def test_a_latched_alert_stays_until_it_is_reset_and_then_clears():
    """Returned to normal, unacknowledged: refused while the condition holds, over with the reset."""
    rules = latching()
    [raised] = feed(rules, prediction(is_anomaly=True), ON_DELAY)
    with pytest.raises(ValueError, match="its condition still holds"):
        rules.reset(raised.alert_id, "A. Reyes", "seen", NOW)
    assert states(feed(rules, prediction(), 200)) == ["returned"]
    assert states(feed(rules, prediction(is_anomaly=True), ON_DELAY)) == ["raised"]
    feed(rules, prediction(), 200)
    [cleared] = rules.reset(raised.alert_id, "A. Reyes", "seen", NOW)
    assert (cleared.state, cleared.alert_id, cleared.operator) == ("cleared", raised.alert_id, "A. Reyes")
    with pytest.raises(ValueError, match="it has cleared"):
        rules.reset(raised.alert_id, "A. Reyes", "seen", NOW)


def test_a_shelved_alert_is_silent_and_comes_back_when_the_time_is_over(rules):
    [raised] = feed(rules, prediction(is_anomaly=True), ON_DELAY)
    [shelved] = rules.shelve(raised.alert_id, shelf(hours=1))
    assert (shelved.state, shelved.operator, shelved.reason) == ("shelved", "A. Reyes", "being repaired")
    assert shelved.until == NOW + timedelta(hours=1)
    assert feed(rules, prediction(), 20) + feed(rules, prediction(is_anomaly=True), 20) == []
    assert rules.expire(NOW + timedelta(minutes=59)) == []
    [back] = rules.expire(NOW + timedelta(hours=1))
    assert (back.state, back.alert_id) == ("unshelved", raised.alert_id)


def test_what_cleared_under_the_shelf_clears_when_it_ends(rules):
    [raised] = feed(rules, prediction(is_anomaly=True), ON_DELAY)
    rules.shelve(raised.alert_id, shelf())
    assert feed(rules, prediction(), 500) == []
    found = rules.unshelve(raised.alert_id, "B. Ito", "done", NOW)
    assert states(found) == ["unshelved", "cleared"]
    assert {alert.operator for alert in found} == {"B. Ito"}
    with pytest.raises(ValueError, match="it is not shelved"):
        rules.unshelve(raised.alert_id, "B. Ito", "done", NOW)


def test_what_grows_graver_than_what_was_shelved_ends_the_shelving(rules):
    [raised] = feed(rules, prediction(rul=20.0), ON_DELAY)
    rules.shelve(raised.alert_id, shelf())
    found = feed(rules, prediction(rul=5.0), 20)
    assert states(found) == ["unshelved", "escalated"]
    assert found[-1].severity is Severity.ALARM


def test_a_clock_that_is_set_back_ends_a_shelving(rules):
    """Else a shelving would last as long as the clock is wrong."""
    [raised] = feed(rules, prediction(is_anomaly=True), ON_DELAY)
    rules.shelve(raised.alert_id, shelf())
    assert states(rules.expire(NOW - timedelta(days=1))) == ["unshelved"]


def test_a_request_that_comes_twice_shelves_once(rules):
    [raised] = feed(rules, prediction(is_anomaly=True), ON_DELAY)
    assert len(rules.shelve(raised.alert_id, shelf(request="r1"))) == 1
    assert rules.shelve(raised.alert_id, shelf(request="r1")) == []


def test_only_an_alert_that_stands_can_be_shelved(rules):
    [raised] = feed(rules, prediction(is_anomaly=True), ON_DELAY)
    feed(rules, prediction(), OFF_DELAY)
    with pytest.raises(ValueError, match="only an alert that stands"):
        rules.shelve(raised.alert_id, shelf())


def test_transitions_of_an_alert_never_go_back_in_time(rules):
    """A plant whose clock is ahead: the shelving is later than the raising all the same."""
    [raised] = feed(rules, prediction(is_anomaly=True), ON_DELAY)
    early = NOW - timedelta(hours=1)
    [shelved] = rules.shelve(raised.alert_id, shelf(now=early))
    assert shelved.timestamp >= raised.timestamp


def test_a_restart_goes_on_with_the_same_alerts_and_their_shelves(rules):
    """What stood stands with its id, nothing is raised anew, and nothing clears before the off-delay."""
    [anomaly] = feed(rules, prediction(is_anomaly=True), ON_DELAY)
    [rul] = feed(rules, prediction(is_anomaly=True, rul=20.0), ON_DELAY)
    rules.shelve(rul.alert_id, shelf(hours=1))
    feed(rules, prediction(rul=20.0), OFF_DELAY - 1)
    again = AlertRules(PUMP, COMPONENT)
    assert again.resume(rules.note(), NOW) == []
    assert again.note() == rules.note()
    assert feed(again, prediction(is_anomaly=True, rul=20.0), 20) == []
    assert feed(again, prediction(rul=20.0), OFF_DELAY - 1) == []
    [cleared] = feed(again, prediction(rul=20.0), 1)
    assert (cleared.alert_id, cleared.event_id) == (anomaly.alert_id, rul.event_id)
    assert states(again.expire(NOW + timedelta(hours=2))) == ["unshelved"]


def test_what_the_configuration_no_longer_has_is_cleared_at_the_restart(rules):
    [raised] = feed(rules, reading(flow=42.0), ON_DELAY)
    again = AlertRules(PUMP, component(thresholds={}))
    [cleared] = again.resume(rules.note(), NOW)
    assert (cleared.state, cleared.alert_id) == ("cleared", raised.alert_id)
    assert again.note() == ""


def test_what_was_raised_before_the_note_could_be_read_replaces_what_it_says(rules):
    """An outbox that opens late: one alert stands for the point, the other is cleared."""
    [old] = feed(rules, prediction(is_anomaly=True), ON_DELAY)
    again = AlertRules(PUMP, COMPONENT)
    [new] = feed(again, prediction(is_anomaly=True), ON_DELAY)
    [cleared] = again.resume(rules.note(), NOW)
    assert (cleared.alert_id, cleared.state) == (old.alert_id, "cleared")
    assert again.alert_ids == [new.alert_id]


def test_a_change_elsewhere_is_nothing_to_keep(rules):
    """`changed` is true exactly when the note says something else: most polls write nothing."""
    feed(rules, prediction(), 10)
    assert not rules.changed
    feed(rules, prediction(is_anomaly=True), ON_DELAY)
    assert rules.changed
    rules.note()
    feed(rules, prediction(is_anomaly=True), 50)
    assert not rules.changed


def test_a_withheld_rul_neither_raises_nor_clears(rules):
    feed(rules, prediction(rul=5.0), ON_DELAY)
    assert feed(rules, prediction(state="withheld"), 20) == []
    assert states(feed(rules, prediction(state="beyond_horizon"), OFF_DELAY)) == ["cleared"]


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
