"""A component that stands still looks healthy: no number, no alarm raised or cleared, until it runs again."""

from functools import cache

import numpy as np
import pytest
from pydantic import ValidationError

from control_plane.training.histories import Unit, windows
from control_plane.training.trust import tag_references
from edge_agent.line import Line, score_together
from edge_agent.scoring import Scorer
from edge_agent.simulation.duty import Duty
from edge_agent.simulation.generators import ReactorSimulator
from shared import wording
from shared.errors import ConfigError
from shared.interpret import interpret_many
from shared.onnx_model import OnnxModel
from shared.operation import rows_in_operation, standstills
from shared.reactor_config import parse_fleet
from shared.schemas import AlertKind, AlertState, Manifest, RulState, Severity, Telemetry
from tests.support import golden
from tests.support.releases import make_release, spec

SEED, LIFE = 1, 240  # its reactor is down from cycle 150 to 184, when the pump has some 70 cycles left
WORN = {"lambda": 0.005, "thresholds": {"rul_warning": 60}}
[(PUMP, COMPONENT)] = parse_fleet({"TX01": {"R1": {"coolant_pump": WORN}}}, "test").components().items()
MANIFEST, MODEL = golden.release()
SPEC = spec()
HALF = SPEC.window_cycles // 2
RUNS, STANDS = 1_000.0, 0.0  # every tag of a row
OPERATING = {"shaft_speed": 800.0, "flow_rate": 175.0}


@cache
def played():
    """A worn pump through an outage: for each cycle the load, what was said, and the alerts it led to."""
    columns = ReactorSimulator(
        COMPONENT, site_id="TX01", reactor_id="R1", component="coolant_pump", random_seed=SEED
    ).simulate(LIFE)
    line = Line(PUMP, COMPONENT)
    line.use(Scorer.load(MANIFEST.model_copy(update={"operating": COMPONENT.operating}), MODEL))
    told = []
    for cycle, load in enumerate(Duty(SEED, "TX01", "R1").load(0, LIFE)):
        metrics = {tag: float(columns[tag][cycle]) for tag in COMPONENT.tags}
        when = str(columns["timestamp"][cycle])
        reading = Telemetry(**PUMP._asdict(), timestamp=when, cycle=cycle, metrics=metrics)
        [answer] = score_together([(line, reading)])
        records, _ = line.conclude(reading, answer)
        told.append((load, answer, [each for each in records if each.SCHEMA.startswith("alert/")]))
    return told


def test_a_worn_pump_has_no_number_in_an_outage_and_its_alarm_stands():
    """From its first cycle to its last nothing is said; before and after there is a number."""
    told = played()
    stopped = [cycle for cycle, (load, _, _) in enumerate(told) if load < 0.44]
    assert (len(stopped), stopped[-1] - stopped[0] + 1) == (34, 34)
    before = told[stopped[0] - 1][1]
    assert before.rul_state is RulState.OK
    assert before.rul < COMPONENT.thresholds.rul_warning
    for cycle in stopped:
        _, answer, alerts = told[cycle]
        assert (answer.rul_state, answer.withheld_because) == (RulState.WITHHELD, "not_running")
        assert (answer.rul, answer.rul_low, answer.rul_high) == (None, None, None)
        assert (answer.is_anomaly, answer.contributions, alerts) == (False, [], [])
    assert wording.withheld("not_running") == "not running"


def test_the_number_comes_back_when_it_has_run_for_half_of_the_window():
    """A window of a few cycles behind an outage tells little: it is said why, and the alarm stands."""
    told = played()
    back = 1 + max(cycle for cycle, (load, _, _) in enumerate(told) if load < 0.44)
    after = [answer.withheld_because for _, answer, _ in told[back : back + HALF]]
    assert after == ["starting_up"] * (HALF - 1) + [None]
    assert all(answer.rul_state is RulState.OK for _, answer, _ in told[back + HALF :])
    assert told[back + HALF][1].rul < COMPONENT.thresholds.rul_warning
    assert [found for _, answer, found in told if answer and answer.withheld_because and found] == []
    alerts = [each for _, _, found in told for each in found if each.kind is AlertKind.RUL_LOW]
    assert [(each.state, each.severity) for each in alerts] == [
        (AlertState.RAISED, Severity.WARNING),
        (AlertState.ESCALATED, Severity.ALARM),
    ]


def test_the_same_windows_without_the_rule_are_what_a_user_saw():
    """What the rule is for: the number jumps in the outage, far beyond what is left of the pump."""
    model = OnnxModel(MANIFEST, MODEL)
    raw = np.stack([np.frombuffer(answer.window, "<f4") for _, answer, _ in played()[150:190]])
    values = raw.reshape(len(raw), MANIFEST.feature_spec.window_cycles, -1)
    rul = interpret_many(model.run(values), MANIFEST, values).interval.median
    assert rul.max() > COMPONENT.thresholds.rul_warning * 1.5


# --- the rule ---------------------------------------------------------------------------------


def rows(*levels, **tags):
    """A window `(1, W, T)` whose last rows are at these levels, tag by tag where `tags` say so."""
    values = np.full((1, SPEC.window_cycles, len(SPEC.tags)), np.nan, np.float32)
    values[0, -len(levels) :] = np.array(levels, np.float32)[:, np.newaxis]
    for tag, level in tags.items():
        values[0, :, SPEC.tags.index(tag)] = level
    return values


@pytest.mark.parametrize(
    ("window", "because"),
    [
        (rows(*[RUNS] * 30), None),
        (rows(*[RUNS] * 29, STANDS), "not_running"),
        (rows(*[RUNS] * 29, STANDS, shaft_speed=RUNS), None),  # one of the two transmitters has failed
        (rows(*[RUNS] * 29, STANDS, shaft_speed=np.nan), "not_running"),
        (rows(*[RUNS] * 30, shaft_speed=np.nan, flow_rate=np.nan), None),  # a matter of sensors
        (rows(*[RUNS] * 20, *[STANDS] * 9, np.nan), "not_running"),  # the last that is known
        (rows(*[RUNS] * 27, STANDS, np.nan, RUNS), None),
        (rows(*[STANDS] * 16, *[RUNS] * 14), "starting_up"),
        (rows(*[STANDS] * 15, *[RUNS] * 15), None),
        (rows(*[RUNS] * 10, *[STANDS] * 15, *[RUNS] * 5), None),
        (rows(*[STANDS] * 5, *[RUNS] * 9), "starting_up"),
        (rows(*[STANDS] * 5, *[RUNS] * 10), None),
        (rows(*[RUNS] * 9), None),  # its first window: there is no standstill in it
    ],
)
def test_it_stands_still_where_all_operating_tags_say_so(window, because):
    assert standstills(window, OPERATING, SPEC) == [because]
    assert standstills(window, {}, SPEC) == [None]


def test_what_was_read_at_a_standstill_reaches_no_model():
    """Outputs are those of a window in which nothing was read then; the record keeps what was."""
    manifest, model = make_release(operating=OPERATING)
    window = rows(*[RUNS] * 15, *[STANDS] * 5, *[RUNS] * 10)
    unread = rows_in_operation(window, OPERATING, SPEC)
    assert np.isnan(unread[0, 15:20]).all()
    assert np.isfinite(unread[0, [14, 20]]).all()
    found, plain = OnnxModel(manifest, model).run(window), OnnxModel(make_release()[0], model)
    for name, output in found.items():
        np.testing.assert_array_equal(output, plain.run(unread)[name])
        assert (output != plain.run(window)[name]).any() or name == "ood_score"


def test_a_standstill_is_named_before_a_sensor_that_does_not_move():
    """A tachometer that shows 0 all along is sound; and there is no anomaly in what is not looked at."""
    manifest = make_release(operating=OPERATING, anomaly_threshold=1.0, horizon_cycles=100.0)[0]
    outputs = {
        "rul": np.full((1, 3), 50),
        "anomaly_score": np.full((1, 1), 9),
        "ood_score": np.full((1, 1), 9),
    }
    outputs = {name: value.astype(np.float32) for name, value in outputs.items()}
    [said] = interpret_many(outputs, manifest, rows(*[STANDS] * 30)).each()
    assert (said["withheld_because"], said["is_anomaly"]) == ("not_running", False)
    assert said["anomaly_score"] == 9.0
    [said] = interpret_many(outputs, manifest, rows(*[RUNS] * 30)).each()
    assert (said["withheld_because"], said["is_anomaly"]) == ("out_of_distribution", True)
    scores = {name: outputs[name] for name in ("anomaly_score", "ood_score")}
    without = manifest.model_copy(update={"outputs": list(scores), "horizon_cycles": None})
    [said] = interpret_many(scores, without, rows(*[STANDS] * 30)).each()
    assert (said["rul_state"], said["withheld_because"]) == (RulState.NOT_MODELLED, "not_running")


# --- training ---------------------------------------------------------------------------------


def test_training_has_the_windows_that_are_answered_and_no_others():
    """The same rule and the same rows: neither a window of a standstill, nor what was read in one."""
    levels = np.array([RUNS] * 40 + [STANDS] * 25 + [RUNS] * 40, np.float32)
    history = np.repeat(levels[:, np.newaxis], len(SPEC.tags), axis=1) + np.arange(len(levels))[:, np.newaxis]
    rul = np.arange(len(levels), dtype=np.float32)[::-1]
    unit = Unit("u", history.astype(np.float32), rul, np.ones(len(levels), bool), OPERATING)
    raw, ends = windows(unit, SPEC)
    assert ends.tolist() == [*range(9, 40), *range(79, 105)]  # from 79 on it has run for fifteen of thirty
    assert np.nanmin(raw) >= RUNS
    assert standstills(raw, OPERATING, SPEC) == [None] * len(raw)
    found = tag_references([unit], SPEC, COMPONENT.tags)
    assert all(each.normal[0] > RUNS for each in found.values())


# --- where the rule comes from ----------------------------------------------------------------


def fleet(**section):
    [component] = parse_fleet({"TX01": {"R1": {"coolant_pump": section}}}, "test").components().values()
    return component


def test_the_type_says_what_operation_is_and_a_component_may_say_otherwise():
    assert fleet().operating == OPERATING
    assert fleet(operating={"shaft_speed": 300}).operating == {"shaft_speed": 300}
    assert fleet(tags={"flow_rate": {"unit": "kg/s"}}).operating == {"flow_rate": 175}
    with pytest.raises(ConfigError, match=r"operating names \['speed'\]"):
        fleet(operating={"speed": 300})


def test_a_manifest_names_operating_tags_of_its_own():
    fields = make_release()[0].model_dump() | {"operating": {"speed": 300.0}}
    with pytest.raises(ValidationError, match=r"operating names \['speed'\]"):
        Manifest(**fields)
