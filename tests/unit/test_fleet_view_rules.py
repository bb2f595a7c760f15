"""What the read model says of a component, from rows, configuration and a clock alone."""

import asyncio
import math
import threading
from datetime import UTC, datetime, timedelta

import pytest

from control_plane.alerts.lifecycle import Transition, step
from control_plane.alerts.models import AlertStatus
from control_plane.api.component_rules import Newest, component_view, nothing_new_s, stale_after_s
from control_plane.api.fleet_state import FleetState
from control_plane.api.history import BUCKETS_MAX, component_history, curve, thinned
from control_plane.api.models import FleetSnapshot, Freshness, Level
from control_plane.api.single_flight import SingleFlight
from control_plane.console import wording
from control_plane.console.alert_rows import events
from shared.reactor_config import parse_fleet
from shared.schemas import Alert, ComponentId

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
KEY = ComponentId("TX01", "R1", "coolant_pump")
CONFIG = parse_fleet(
    {"TX01": {"R1": {"coolant_pump": {"thresholds": {"limits": {"bearing_temperature": {"high": 90.0}}}}}}},
    "test",
).components()[KEY]
NUMBERS = dict.fromkeys(CONFIG.tags, 50.0)


def telemetry(age_s=1.0, metrics=None, quality=None, cycle=100):
    return {
        **KEY._asdict(),
        "timestamp": NOW - timedelta(seconds=age_s),
        "seq": 1,
        "cycle": cycle,
        "metrics": list((NUMBERS if metrics is None else metrics).items()),
        "quality": list((quality or {}).items()),
    }


def prediction(age_s=1.0, cycle=100, state="ok", rul=100.0, score=0.5, mode="active"):
    return {
        **KEY._asdict(),
        "timestamp": NOW - timedelta(seconds=age_s),
        "seq": 2,
        "cycle": cycle,
        "mode": mode,
        "prediction_id": f"p{cycle}",
        "model_name": "pump",
        "model_version": 3,
        "model_sha256": "ab" * 32,
        "rul_state": state,
        "rul": rul,
        "rul_low": rul - 10 if rul is not None else None,
        "rul_high": rul + 10 if rul is not None else None,
        "anomaly_score": score,
        "anomaly_threshold": 3.0,
        "is_anomaly": score > 3.0,
        "is_ood": False,
        "withheld_because": "sensor_stuck:flow_rate" if state == "withheld" else None,
        "contributions": None if rul is None else [CONTRIBUTION],
    }


CONTRIBUTION = {
    "tag": "flow_rate", "of": "rul", "effect": -23.0, "value": 14.2, "normal": 15.3, "unit": "m3/h"
}  # fmt: skip


def transition(state, age_s, alert_id="a", seq=1, severity="alarm", **more):
    return {
        **KEY._asdict(),
        "timestamp": NOW - timedelta(seconds=age_s),
        "seq": seq,
        "cycle": 1,
        "alert_id": alert_id,
        "kind": "anomaly",
        "severity": severity,
        "state": state,
        "subject": "anomaly",
        "value": 4.0,
        "threshold": 3.0,
        "message": f"{state} {alert_id}",
    } | more


def view(newest, period_s=0.5):
    return component_view(KEY, CONFIG, period_s, newest, NOW)


def test_a_number_is_the_present_only_within_five_poll_periods():
    """A component is stale beyond five poll periods, and never sooner than the pipeline can be."""
    assert (stale_after_s(0.5), stale_after_s(2.0)) == (5.0, 10.0)
    assert view(Newest(telemetry(9.9), None), period_s=2.0).freshness is Freshness.LIVE
    assert view(Newest(telemetry(10.1), None), period_s=2.0).freshness is Freshness.STALE


def test_stale_component_offers_no_current_number():
    """What is stale stands in the last known readings and prediction alone, with its time."""
    found = view(Newest(telemetry(42.0), prediction(42.0, rul=5.0)))
    assert (found.readings, found.prediction, found.level) == ([], None, Level.NO_DATA)
    assert found.last_prediction is not None
    assert [r.value for r in found.last_readings] == [50.0] * len(CONFIG.tags)
    assert found.last_seen == NOW - timedelta(seconds=42)
    assert wording.silence(found, NOW) == "No data for 42 s"


def test_a_site_clock_ahead_is_not_taken_for_fresh_data():
    """A reading stamped in the future has an age that nobody knows, so it is not the present."""
    found = view(Newest(telemetry(-3600.0), None))
    assert (found.freshness, found.readings) == (Freshness.CLOCK_AHEAD, [])
    assert wording.silence(found, NOW) == "Site clock is 1 h 0 min ahead"


def test_component_without_any_reading_says_so():
    """A component that never reported has neither readings nor an age."""
    found = view(Newest(None, None))
    assert (found.freshness, found.age_s, found.level) == (Freshness.NEVER, None, Level.NO_DATA)
    assert wording.silence(found, NOW) == "No data yet"


def test_bad_quality_gives_the_reason_and_no_number():
    """A tag that could not be read shows its reason; the component is limited, not normal."""
    numbers = {k: v for k, v in NUMBERS.items() if k != "flow_rate"}
    found = view(Newest(telemetry(metrics=numbers, quality={"flow_rate": "timeout"}), prediction()))
    bad = next(r for r in found.readings if r.tag == "flow_rate")
    assert (bad.value, bad.quality) == (None, "timeout")
    assert (found.level, found.reasons) == (Level.DEGRADED, ["Flow rate: timeout"])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_nan_leaves_the_read_model(value):
    """A number that is none shows as a bad quality, in a reading, a score and a curve."""
    found = view(Newest(telemetry(metrics=NUMBERS | {"flow_rate": value}), prediction(score=value)))
    assert next(r for r in found.readings if r.tag == "flow_rate").quality == "not_a_number"
    assert found.prediction is not None
    assert found.prediction.anomaly_score is None
    assert curve([{"timestamp": NOW}], lambda row: value, 1.0)[0][1] is None
    assert "nan" not in found.model_dump_json().lower().replace("not_a_number", "")


@pytest.mark.parametrize("state", ["withheld", "beyond_horizon", "not_modelled"])
def test_only_state_ok_carries_a_rul(state):
    """A withheld RUL shows as a word, even where the row holds a number."""
    found = view(Newest(telemetry(), prediction(state=state, rul=7.0)))
    assert found.prediction is not None
    assert (found.prediction.rul, found.prediction.rul_low, found.prediction.rul_high) == (None, None, None)
    assert found.level is (Level.DEGRADED if state == "withheld" else Level.NORMAL)
    assert wording.rul_headline(found.prediction)[1] == ""


def test_a_page_says_why_a_number_is_withheld_and_what_a_given_one_hangs_on():
    """The tag by its name, in its unit as it is written here; rows from before these columns say less."""
    withheld = view(Newest(telemetry(), prediction(state="withheld", rul=7.0)))
    assert withheld.reasons == ["RUL withheld: flow rate stuck at one value"]
    assert wording.rul_detail(withheld, NOW) == "flow rate stuck at one value"
    given = view(Newest(telemetry(), prediction()))
    assert given.prediction is not None
    assert [wording.contribution(each) for each in given.prediction.contributions] == [
        "Flow rate 14.2 m³/h, 1.1 m³/h below normal: \N{MINUS SIGN}23 cycles"
    ]
    older = prediction(state="withheld") | {"withheld_because": None, "contributions": None}
    found = view(Newest(telemetry(), older))
    assert found.reasons == ["RUL withheld: input or sensors not to be relied on"]


@pytest.mark.parametrize(("rul", "level"), [(25.1, "normal"), (25.0, "warning"), (10.0, "alarm")])
def test_rul_at_its_threshold_raises_the_level(rul, level):
    """RUL at or below the configured warning or alarm makes that the component's level."""
    assert view(Newest(telemetry(), prediction(rul=rul))).level == level


def test_tag_outside_its_limit_warns():
    """A reading beyond its fixed limit says which side it left."""
    found = view(Newest(telemetry(metrics=NUMBERS | {"bearing_temperature": 91.0}), prediction()))
    assert next(r for r in found.readings if r.tag == "bearing_temperature").outside == "high"
    assert (found.level, found.reasons) == (Level.WARNING, ["Bearing temperature is above its limit"])


def test_prediction_that_fell_behind_is_not_current():
    """An answer for an old cycle is the last known one; a slow plant's answer for this cycle stays."""
    behind = view(Newest(telemetry(cycle=100), prediction(60.0, cycle=90)))
    assert (behind.prediction, behind.level) == (None, Level.DEGRADED)
    slow = view(Newest(telemetry(cycle=100), prediction(600.0, cycle=99)))
    assert slow.prediction is not None


def test_standing_alert_sets_the_level_with_its_own_words():
    """An alert's message is the reason, said once."""
    found = view(Newest(telemetry(), prediction(score=9.0), told(transition("raised", 5))))
    assert (found.level, found.reasons) == (Level.ALARM, ["raised a"])


def test_an_alerts_number_has_its_time_beside_the_present_one():
    """The card shows both; without the time they contradict each other."""
    found = view(Newest(telemetry(), prediction(rul=3.0), told(transition("raised", 120))))
    assert wording.reason(found, NOW) == f"{NOW - timedelta(seconds=120):%H:%M} · {found.alerts[0].message}"


def test_alert_ends_are_joined_whatever_order_they_arrive_in():
    """Raised and cleared meet by id; a cleared alert does not stand, one raised again does."""
    rows = [transition("cleared", 5, seq=2), transition("raised", 9, seq=1)]
    [alert] = told(*rows)
    assert (alert.standing, alert.raised_at, alert.cleared_at, alert.message) == (
        False,
        NOW - timedelta(seconds=9),
        NOW - timedelta(seconds=5),
        "raised a",
    )
    assert [a.standing for a in told(*rows, transition("raised", 2, seq=3))] == [True]


def told(*transitions):
    arrived = [
        Transition(alert=Alert(**{k: v for k, v in row.items() if k != "seq"}), seq=row["seq"])
        for row in transitions
    ]
    views = [alarm.view() for alarm in step({}, arrived).values()]
    return sorted(views, key=lambda alert: alert.raised_at, reverse=True)


def test_an_alert_that_escalates_is_one_alert_with_its_new_severity():
    [alert] = told(transition("raised", 9, severity="warning"), transition("escalated", 5, seq=2))
    assert (alert.status, alert.severity, alert.message) == (AlertStatus.RAISED, "alarm", "escalated a")
    assert alert.raised_at == NOW - timedelta(seconds=9)


def test_a_shelved_alert_does_not_stand_and_is_not_forgotten():
    """The component is no alarm, and not normal: who shelved it, until when and why is said in words."""
    until = NOW + timedelta(hours=1)
    shelved = transition("shelved", 5, seq=2, operator="A. Reyes", reason="being repaired", until=until)
    [alert] = told(transition("raised", 9), shelved)
    assert (alert.standing, alert.status) == (False, AlertStatus.SHELVED)
    assert wording.alert_word(alert) == "Shelved"
    note = wording.alert_note(alert, NOW)
    assert note == "shelved until 13:00:00 UTC by A. Reyes: being repaired"
    found = view(Newest(telemetry(), prediction(score=9.0), [alert]))
    assert (found.level, found.reasons) == (Level.DEGRADED, ["shelved: raised a"])


def test_an_unshelved_alert_stands_until_it_clears():
    rows = [transition("raised", 9), transition("shelved", 8, seq=2), transition("unshelved", 7, seq=3)]
    assert [a.standing for a in told(*rows)] == [True]
    [cleared] = told(*rows, transition("cleared", 7, seq=4))
    assert (cleared.standing, cleared.status) == (False, AlertStatus.RETURNED_UNACKNOWLEDGED)


def test_a_latched_alert_stands_as_a_warning_until_its_reset():
    [alert] = told(transition("raised", 9), transition("returned", 5, seq=2))
    assert (alert.standing, wording.alert_word(alert)) == (True, "Returned")
    assert "reset" in wording.alert_note(alert, NOW)
    found = view(Newest(telemetry(), prediction(), [alert]))
    assert (found.level, found.reasons) == (
        Level.WARNING,
        ["returned to normal, to be reset: raised a"],
    )


def test_what_a_site_without_its_state_raises_anew_ends_the_old_alert():
    """One alert stands for one thing; the same alert raised again is not another."""
    old, new = sorted(told(transition("raised", 90, "old"), transition("raised", 9, "new", seq=2)), key=_age)
    assert (old.alert_id, old.status, old.cleared_at) == ("old", AlertStatus.CLEARED, new.raised_at)
    assert new.standing
    other = told(transition("raised", 90, "old"), transition("raised", 9, "new", subject="another"))
    assert all(alert.standing for alert in other)


def _age(alert):
    return alert.raised_at


def test_alerts_of_one_event_are_one_row_with_the_gravest_on_top():
    rows = [
        transition("raised", 9, "a", severity="warning", event_id="a"),
        transition("raised", 8, "b", event_id="a", subject="rul"),
        transition("raised", 7, "c", subject="flow_rate"),
    ]
    found = events(told(*rows))
    assert [[alert.alert_id for alert in event] for event in found] == [["c"], ["b", "a"]]


def test_late_row_does_not_replace_a_newer_one():
    """Rows of an outage that arrive late leave the newest reading in its place; shadows never show."""
    state = FleetState()
    state.take_telemetry([telemetry(1.0, cycle=9), telemetry(60.0, cycle=2)])
    state.take_predictions([prediction(mode="shadow")])
    assert (state.telemetry[KEY]["cycle"], state.predictions) == (9, {})


def test_curve_breaks_where_nothing_was_known():
    """A line never bridges a bad value or missing polls."""
    rows = [{"timestamp": NOW + timedelta(seconds=s), "v": v} for s, v in ((0, 1), (1, None), (2, 3), (9, 4))]
    assert [value for _, value in curve(rows, lambda row: row["v"], 3.0)] == [1, None, 3, None, 4]


def test_thinned_curve_keeps_the_spike():
    """However many points, the highest and lowest stay and the size is bounded."""
    start = NOW - timedelta(minutes=15)
    times = [int(start.timestamp() * 1000) + i * 50 for i in range(18_000)]
    points = [(t, 99.0 if i == 7_777 else -99.0 if i == 12_345 else math.sin(i)) for i, t in enumerate(times)]
    kept = thinned(points, start, NOW)
    assert len(kept) <= 3 * (BUCKETS_MAX + 1)
    assert {points[7_777], points[12_345]} <= set(kept)
    assert kept == sorted(kept)


def test_history_of_withheld_rul_is_a_break():
    """The RUL curve has a number only where the answer was ok."""
    rows = [prediction(3.0), prediction(2.0, state="withheld", rul=5.0), prediction(1.0)]
    found = component_history(CONFIG, [], rows, NOW, minutes=5, break_after_s=3.0)
    assert [p.rul for p in found.rul] == [100.0, None, 100.0]


def test_many_askers_cost_one_load():
    """All who ask at once share one load; one who gives up does not end it for the others."""
    loads, gate = [], threading.Event()

    def load() -> int:
        loads.append(1)
        gate.wait(5)
        return len(loads)

    async def ask() -> list[int]:
        flight = SingleFlight(load, fresh_for_s=60)
        askers = [asyncio.create_task(flight.get()) for _ in range(50)]
        await asyncio.sleep(0.01)
        askers[0].cancel()
        gate.set()
        return await asyncio.gather(*askers[1:])

    assert asyncio.run(ask()) == [1] * 49
    assert len(loads) == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (42, "42 s"), (61, "1 min 1 s"), (3_700, "1 h 1 min"), (90_000, "1 d 1 h")],
)
def test_age_is_written_in_its_two_largest_units(seconds, text):
    """An operator reads ages at a glance."""
    assert wording.age(seconds) == text


@pytest.mark.parametrize(
    ("value", "span", "text"),
    [(1484.7, 3600, "1485"), (71.26, 250, "71.3"), (2.3149, 100, "2.31"), (0, None, "0.0000")],
)
def test_numbers_have_the_decimals_of_their_range(value, span, text):
    """A tag's decimals come from its range, so that its number does not change width."""
    assert wording.number(value, span) == text


@pytest.mark.parametrize(
    ("ages_s", "told_s"),
    [
        ((60.0, 90.0), 60.0),
        ((60.0, 1.0), None),
        ((60.0, None), 60.0),
        ((None, None), None),
        ((60.0, -60.0), None),
    ],
)
def test_silence_of_all_that_was_ever_heard_is_told_as_one(ages_s, told_s):
    """Not of one that lives, of a fleet that has not begun, or of a clock that is ahead."""
    rows = (None if age_s is None else telemetry(age_s) for age_s in ages_s)
    found = nothing_new_s([component_view(KEY, CONFIG, 0.5, Newest(row, None), NOW) for row in rows])
    assert found == told_s
    snapshot = FleetSnapshot(
        taken_at=NOW,
        problem=None,
        nothing_new_s=found,
        counts={},
        standing_alerts=[],
        shelved_alerts=[],
        sites=[],
    )
    assert ("Nothing new from any site for 1 min 0 s" in wording.trouble(snapshot)) is (told_s is not None)
