"""What each fault does to the tags, the wear and the labels (PRD 1.3)."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from edge_agent.simulation import ReactorSimulator
from edge_agent.simulation.duty import Duty
from edge_agent.simulation.faults import FAULT_TYPES, SIZES_DRAWN
from edge_agent.simulation.generators import EFFECTS_MAX
from shared.errors import ConfigError
from shared.fault_config import FAULT_SIZES, TAG_FAULTS, WEAR_FAULTS, ScheduledFault

AT, CYCLES = 20, 60
SPANS = {"flow_rate": 200.0, "vibration_rms": 8.0, "bearing_temperature": 80.0, "pressure_drop": 100.0}


def simulator(component: str = "coolant_pump", **config: Any) -> ReactorSimulator:
    return ReactorSimulator(config, site_id="TX01", reactor_id="R1", component=component, random_seed=7)


def struck(fault: str, component: str = "coolant_pump", **settings: Any) -> tuple[Any, Any]:
    """Columns of a component struck at AT, and of the sound one."""
    scheduled = {"type": fault, "at_cycle": AT, **settings}
    return (
        simulator(component, faults=[scheduled]).simulate(CYCLES),
        simulator(component).simulate(CYCLES),
    )


def difference(fault: str, tag: str, **settings: Any) -> Any:
    """What the fault adds to its tag from AT on, in spans; nothing before, nothing to the other tags."""
    faulty, sound = struck(fault, tag=tag, **settings)
    for name in sound:
        if name not in (tag, "fault"):
            assert np.array_equal(faulty[name], sound[name]), name
    assert np.array_equal(faulty[tag][:AT], sound[tag][:AT])
    return (faulty[tag] - sound[tag])[AT:] / SPANS[tag]


def test_bias_shifts_and_drift_creeps_and_noise_grows():
    """Only the named tag, by the size given in spans: at once, cycle by cycle, with no sign of its own."""
    assert difference("sensor_bias", "flow_rate", size=-0.2) == pytest.approx(-0.2)
    creep = difference("sensor_drift", "flow_rate", size=0.004)
    assert creep == pytest.approx(0.004 * np.arange(1, CYCLES - AT + 1))
    noise = difference("sensor_noise", "flow_rate", size=0.1)
    assert noise.std() == pytest.approx(0.1, rel=0.3)
    assert abs(noise.mean()) < 0.05


def test_stuck_transmitter_holds_its_first_reading_until_it_is_freed():
    """The last good number looks live: it is the reading of the cycle at which it stuck."""
    faulty, sound = struck("sensor_stuck", tag="flow_rate", duration_cycles=10)
    assert (faulty["flow_rate"][AT : AT + 10] == sound["flow_rate"][AT]).all()
    assert np.array_equal(faulty["flow_rate"][AT + 10 :], sound["flow_rate"][AT + 10 :])


def test_silent_transmitter_is_not_a_number_and_the_rest_goes_on():
    """A dropout is NaN while it lasts; the labels are those of the sound component."""
    faulty, sound = struck("sensor_dropout", tag="flow_rate", duration_cycles=5)
    assert np.isnan(faulty["flow_rate"][AT : AT + 5]).all()
    assert np.array_equal(faulty["flow_rate"][AT + 5 :], sound["flow_rate"][AT + 5 :])
    assert np.array_equal(faulty["true_RUL"], sound["true_RUL"])


@pytest.mark.parametrize("fault", sorted(TAG_FAULTS))
def test_unnamed_tag_is_one_of_many_and_always_the_same_by_seed(fault):
    """A sensor fault without a tag strikes one, chosen by the seed; other seeds choose others."""
    found = set()
    for seed in range(12):
        configs = [{"faults": [{"type": fault, "at_cycle": 0}]}, {}]
        place = {"site_id": "TX01", "reactor_id": "R1", "component": "coolant_pump"}
        faulty, again, sound = (
            ReactorSimulator(config, **place, random_seed=seed).simulate(30)
            for config in (configs[0], configs[0], configs[1])
        )
        changed = [tag for tag in sound if tag != "fault" and not np.array_equal(faulty[tag], sound[tag])]
        assert len(changed) == 1
        assert all(np.array_equal(faulty[tag], again[tag], equal_nan=tag == changed[0]) for tag in sound)
        found |= set(changed)
    assert len(found) > 2


def test_leak_takes_flow_and_pressure_and_wears_nothing():
    """Flow and pressure difference settle lower, as the load; performance and RUL are the sound pump's."""
    faulty, sound = struck("leak")
    load = Duty(7, "TX01", "R1").load(CYCLES - 1, 1)[0]
    lost = {tag: sound[tag][-1] - faulty[tag][-1] for tag in ("flow_rate", "pressure_drop")}
    assert lost == {
        "flow_rate": pytest.approx(40.0 * load, rel=0.05),
        "pressure_drop": pytest.approx(25.0 * load * load, rel=0.05),
    }
    for name in ("performance", "true_RUL", "vibration_rms", "motor_current"):
        assert np.array_equal(faulty[name], sound[name])


def test_spall_raises_vibration_before_temperature_and_doubles_the_wear():
    """In noise the vibration shows first; the rate of loss is twice what it was."""
    faulty, sound = struck("bearing_spall")
    first = {
        tag: int(np.flatnonzero(abs(faulty[tag] - sound[tag]) > 0.05 * SPANS[tag])[0])
        for tag in ("vibration_rms", "bearing_temperature")
    }
    assert AT <= first["vibration_rms"] < first["bearing_temperature"]
    log = np.log(faulty["performance"])
    assert log[AT + 1] - log[AT] == pytest.approx(2.0 * (log[AT] - log[AT - 1]))
    assert faulty["true_RUL"][AT] < 0.55 * sound["true_RUL"][AT]


def test_fouling_surge_costs_the_exchanger_heat_and_pressure_at_once():
    """Steam cools and the passages narrow; a pump has no such surface and refuses it."""
    faulty, sound = struck("fouling_surge", "heat_exchanger")
    assert sound["performance"][AT] - faulty["performance"][AT] == pytest.approx(0.15)
    assert faulty["secondary_temperature_out"][-1] < sound["secondary_temperature_out"][-1] - 2.0
    assert faulty["pressure_drop"][-1] > sound["pressure_drop"][-1] + 5.0
    assert faulty["true_RUL"][AT] < sound["true_RUL"][AT]


@pytest.mark.parametrize(
    ("fault", "component", "missing"),
    [
        ("bearing_spall", "heat_exchanger", "vibration_rms"),
        ("fouling_surge", "coolant_pump", "secondary_temp"),
    ],
)
def test_fault_that_makes_no_sense_is_refused_at_run_time_and_in_the_file(fault, component, missing):
    """The message names the component's type and what it lacks; nothing is injected."""
    message = f"{fault} makes no sense for a {component}: it has no {missing}"
    with pytest.raises(ValueError, match=message):
        simulator(component).inject_fault(fault)
    with pytest.raises(ConfigError, match=message):
        simulator(component, faults=[{"type": fault, "at_cycle": 3}])


def test_failed_unit_that_recovered_above_its_threshold_stays_failed_when_struck():
    """A Wiener path may rise again; a fault that falls there gives no new life to the label."""
    config = {"decay_type": "wiener", "drift": 0.002, "volatility": 0.05, "fail_threshold": 0.5}
    columns = simulator(**config).simulate(200)
    recovered = (columns["true_RUL"] == 0) & (columns["performance"] > 0.5)
    at = int(np.flatnonzero(recovered)[0])
    config["faults"] = [{"type": "accelerated_decay", "at_cycle": at, "size": 1.0}]
    again = simulator(**config).simulate(200)
    assert again["performance"][at] > 0.5
    assert (again["true_RUL"][at:] == 0).all()


@pytest.mark.parametrize("fault", ["leak", "sensor_bias", "spike", "drop"])
def test_fault_with_an_end_leaves_nothing_behind(fault):
    """After its duration every column is that of the sound component."""
    faulty, sound = struck(fault, duration_cycles=7)
    assert faulty["fault"].tolist() == [None] * AT + [fault] * 7 + [None] * (CYCLES - AT - 7)
    for name in sound:
        assert np.array_equal(faulty[name][AT + 7 :], sound[name][AT + 7 :]), name


def test_faults_at_once_are_labelled_together_in_their_order():
    """Each name once, joined by +, for as long as it is in effect."""
    faults = [("sudden_failure", 2), ("spike", 3), ("spike", 4)]
    found = simulator(faults=[{"type": kind, "at_cycle": cycle} for kind, cycle in faults]).simulate(8)[
        "fault"
    ]
    both = "sudden_failure+spike"
    assert found.tolist() == [None, None, "sudden_failure", both, both, both, both, "sudden_failure"]


def test_injected_fault_is_the_scheduled_one():
    """inject_fault at a cycle gives the bits of the same fault in the file."""
    settings: dict[str, Any] = {"tag": "flow_rate", "size": 0.3, "duration_cycles": 9}
    running = simulator()
    running.simulate(AT)
    running.inject_fault("sensor_bias", **settings)
    scheduled, _ = struck("sensor_bias", **settings)
    assert np.array_equal(running.simulate(CYCLES - AT)["flow_rate"], scheduled["flow_rate"][AT:])


@pytest.mark.parametrize(
    ("fault", "settings", "message"),
    [
        ("leak", {"tag": "flow_rate"}, "leak acts on the component; leave out tag 'flow_rate'"),
        ("sensor_bias", {"tag": "seal_leak"}, "sensor_bias on tag 'seal_leak'; the tags are shaft_speed"),
        ("sensor_stuck", {"size": 1.0}, "sensor_stuck has no size; leave out 1.0"),
        ("sudden_failure", {"size": 1.5}, "size 1.5 of sudden_failure; allowed: 0.001 to 1.0"),
        ("sudden_failure", {"duration_cycles": 3}, "changes the wear for good; leave out duration_cycles"),
        ("spike", {"cycles": 3}, "cycles: unknown field"),
        ("spike", {"duration_cycles": 0}, "duration_cycles: found 0"),
        ("sensor_bias", {"size": float("nan")}, "size: found nan"),
    ],
)
def test_setting_that_does_not_belong_is_refused(fault, settings, message):
    """ValueError says which setting of which fault, and what would be right."""
    with pytest.raises(ValueError, match=message):
        simulator().inject_fault(fault, **settings)


def test_dropout_of_an_integer_register_is_refused():
    """NaN does not exist in an int16: the plant could not serve it."""
    register = {"address": 2, "type": "int16"}
    tags = {"flow_rate": {"unit": "kg/s", "register": register}, "vibration_rms": {"unit": "mm/s"}}
    with pytest.raises(ValueError, match="tag 'flow_rate' has an integer register, which holds no NaN"):
        simulator(tags=tags).inject_fault("sensor_dropout", tag="flow_rate")
    source = simulator(tags=tags)
    source.inject_fault("sensor_dropout")
    assert np.isnan(source.simulate(3)["vibration_rms"]).all()


def test_faults_in_effect_are_bounded_and_those_that_ended_do_not_count():
    """The message says how many are in effect."""
    source = simulator()
    for _ in range(EFFECTS_MAX):
        source.inject_fault("spike", size=0.1)
    with pytest.raises(ValueError, match=f"{EFFECTS_MAX} faults are in effect"):
        source.inject_fault("spike")
    source.simulate(3)
    source.inject_fault("spike")


def test_every_type_is_in_the_tables_that_concern_it():
    """A new type cannot be left without a size range, or be both of a tag and of the wear."""
    assert set(FAULT_TYPES) - FAULT_SIZES.keys() == {"sensor_stuck", "sensor_dropout"}
    assert not TAG_FAULTS & WEAR_FAULTS
    for fault, (low, high) in SIZES_DRAWN.items():
        for size in (low, high):
            ScheduledFault(type=fault, at_cycle=0, size=size)


def test_file_is_refused_for_a_fault_on_an_unknown_tag_and_for_too_many():
    """The schema catches both, with the place in the file."""
    with pytest.raises(ConfigError, match=r"faults name \['seal'\]; the tags are \['bearing_temperature'"):
        simulator(faults=[{"type": "spike", "at_cycle": 1, "tag": "seal"}])
    with pytest.raises(ConfigError, match=r"faults: .*at most 100 items"):
        simulator(faults=[{"type": "spike", "at_cycle": 1}] * 101)
    with pytest.raises(ValidationError, match="sensor_dropout has no size"):
        ScheduledFault(type="sensor_dropout", at_cycle=1, size=0.1)


@pytest.mark.parametrize(
    ("law", "field", "message"),
    [
        ("weibull", {"lambda": 0.1}, "lambda belongs to decay_type exponential; weibull takes scale, shape"),
        (
            "step",
            {"drift": 0.1},
            "drift belongs to decay_type wiener or gamma; step takes step_cycles, step_size",
        ),
        ("gamma", {"drift_spread": 0.1}, "drift_spread belongs to decay_type wiener; gamma takes drift, vol"),
        ("paris", {"exponent": 2.0}, "exponent: found 2.0"),
        ("brownian", {}, "decay_type: found 'brownian'"),
    ],
)
def test_field_of_another_law_is_refused(law, field, message):
    """The message says whose field it is and what the law takes."""
    with pytest.raises(ConfigError, match=message):
        simulator(decay_type=law, **field)
