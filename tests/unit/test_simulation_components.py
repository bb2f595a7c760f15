"""Every component type over its whole life and load, and what each type's wear does first."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edge_agent.commands.check import check
from edge_agent.commands.simulate import simulate
from edge_agent.simulation import ReactorSimulator, components
from edge_agent.simulation.components import LOAD_MIN, NOMINAL, heat_exchanger, model, model_types
from edge_agent.simulation.components import motor_operated_valve as valve
from edge_agent.simulation.physics import water
from edge_agent.simulation.presets import FORCED_CIRCULATION, NATURAL_CIRCULATION, PRESETS, preset
from shared.config_defaults import builtin_types
from shared.errors import ConfigError
from shared.reactor_config import parse_fleet
from shared.schemas import ComponentId

PAGE = Path(__file__).parents[2] / "docs" / "extending_system.md"
LOAD_MAX = 1.1
FAIL = 0.3  # performance at which a component has failed, unless its configuration says otherwise
SEEDS = range(20)  # units: none may stray
PLACES = [
    (kind, found)
    for kind in model_types()
    for found in PRESETS.values()
    if kind != "coolant_pump" or found.coolant_pumps
]
everywhere = pytest.mark.parametrize(
    ("kind", "reactor"), PLACES, ids=[f"{kind}-{reactor.reactor_type}" for kind, reactor in PLACES]
)
shares = st.floats(0.0, 1.0)
loads = st.floats(0.0, LOAD_MAX)


def unit(kind, reactor=FORCED_CIRCULATION, seed=1):
    return model(kind)(np.random.default_rng(seed), reactor)


def tags(kind, performance=1.0, load=1.0, reactor=FORCED_CIRCULATION, seed=1, around=NOMINAL):
    found = unit(kind, reactor, seed).tags(np.array([performance]), np.array([load]), around)
    return {name: float(values[0]) for name, values in found.items()}


def life(kind, load=1.0, reactor=FORCED_CIRCULATION):
    """Tags from new to gone at one load."""
    performance = np.linspace(1.0, 0.0, 201)
    return unit(kind, reactor).tags(performance, np.full_like(performance, load))


def outside(found, declared):
    """Which tags leave the range that the type declares, or are no number."""
    ranges = {name: declared[name]["range"] for name in found}
    return {
        name: (values.min(), values.max())
        for name, values in found.items()
        if not np.all((values >= ranges[name][0]) & (values <= ranges[name][1]))
    }


def over_life_and_load(found):
    performance, load = np.meshgrid(np.linspace(0.0, 1.0, 41), np.linspace(0.0, LOAD_MAX, 45))
    with np.errstate(all="raise", under="ignore"):
        return found.tags(performance.ravel(), load.ravel())


@everywhere
def test_every_tag_stays_within_its_range_from_new_to_gone_over_the_load(kind, reactor):
    """From new to gone and from an outage to 1.1 of nominal, no tag leaves what its type declares."""
    declared = builtin_types()[kind]["tags"]
    for seed in SEEDS:
        found = over_life_and_load(unit(kind, reactor, seed))
        assert list(found) == list(declared)
        assert outside(found, declared) == {}


@everywhere
@given(performance=shares, load=loads, seed=st.integers(0, 1_000))
def test_tags_are_finite_everywhere(kind, reactor, performance, load, seed):
    """No performance and no load gives infinity, nothing or a warning."""
    with np.errstate(all="raise", under="ignore"):
        found = tags(kind, performance, load, reactor, seed)
    assert all(np.isfinite(value) for value in found.values()), found


@everywhere
def test_one_cycle_and_a_thousand_give_the_same_bits(kind, reactor):
    """Elementwise: a cycle's numbers do not depend on how many are asked for at once."""
    rng = np.random.default_rng(5)
    performance, load = rng.uniform(0, 1, 1_000), rng.uniform(0, LOAD_MAX, 1_000)
    found = unit(kind, reactor)
    together = found.tags(performance, load)
    for index in range(0, 1_000, 37):
        for count in (1, 5):
            part = slice(index, index + count)
            apart = found.tags(performance[part].copy(), load[part].copy())
            for name, values in apart.items():
                assert values.tobytes() == together[name][part].tobytes(), name


@everywhere
def test_limits_are_quiet_while_new_and_crossed_by_failure(kind, reactor):
    """A new unit's fixed limits hold at every load; a failed one at nominal load has crossed each."""
    limits = builtin_types()[kind]["thresholds"].get("limits", {})
    load = np.linspace(0.0, LOAD_MAX, 45)
    for seed in SEEDS:
        new = unit(kind, reactor, seed).tags(np.ones_like(load), load)
        failed = tags(kind, FAIL, 1.0, reactor, seed)
        for tag, limit in limits.items():
            low, high = limit.get("low", -np.inf), limit.get("high", np.inf)
            assert np.all((new[tag] > low) & (new[tag] < high)), tag
            assert not low <= failed[tag] <= high, tag


@everywhere
def test_an_outage_is_no_cliff(kind, reactor):
    """Just above and at a standstill the tags are the same within a thousandth of their span."""
    still, creeping = tags(kind, 0.8, 0.0, reactor), tags(kind, 0.8, LOAD_MIN * 1e-12, reactor)
    for name, span in model(kind).spans.items():
        assert abs(still[name] - creeping[name]) < 1e-3 * span, name


FIRST = {
    "control_rod_drive": "latch_time",
    "motor_operated_valve": "packing_friction",
    "pressuriser_heater": "insulation_resistance",
}


@pytest.mark.parametrize(("kind", "tag"), FIRST.items())
def test_wear_moves_the_expected_tag_first(kind, tag):
    """At a tenth of wear that tag has moved furthest, in spans: the unit in which noise is counted."""
    new, worn = tags(kind, 1.0), tags(kind, 0.9)
    moved = {name: abs(worn[name] - new[name]) / span for name, span in model(kind).spans.items()}
    assert max(moved, key=moved.__getitem__) == tag


WITH_WEAR = {
    "coolant_pump": ["bearing_temperature", "motor_current", "vibration_rms", "-flow_rate", "-pressure_drop"],
    "feedwater_pump": [
        "seal_leakage",
        "bearing_temperature",
        "vibration_rms",
        "-flow_rate",
        "-pressure_drop",
    ],
    "heat_exchanger": ["pressure_drop", "temperature_out", "-secondary_temperature_out"],
    "control_rod_drive": [
        "latch_time",
        "drop_time",
        "position_deviation",
        "coil_temperature",
        "lift_current",
    ],
    "motor_operated_valve": [
        "packing_friction",
        "stem_thrust",
        "motor_torque",
        "motor_current",
        "stroke_time",
    ],
    "pressuriser_heater": ["-insulation_resistance", "bank_resistance", "-heater_power", "-pressure"],
}


@pytest.mark.parametrize("load", [0.5, 1.0, LOAD_MAX])
@pytest.mark.parametrize(("kind", "tag"), [(kind, tag) for kind, found in WITH_WEAR.items() for tag in found])
def test_wear_moves_a_tag_one_way_only(kind, tag, load):
    """From new to gone the tag never turns back, and ends up elsewhere (- marks a tag that falls)."""
    values = life(kind, load)[tag.lstrip("-")]
    signed = -values if tag.startswith("-") else values
    steps = np.diff(signed)
    assert steps.min() >= -1e-9 * np.abs(values).max()
    assert signed[-1] > signed[0]


def test_saturation_line_is_that_of_the_standard():
    """IAPWS-IF97's own check values: equation 30 at 300, 500, 600 K, equation 31 at 0.1, 1, 10 MPa."""
    kpa = water.saturation_kpa(np.array([300.0, 500.0, 600.0]) - 273.15)
    assert kpa == pytest.approx([3.53658941, 2638.89776, 12344.3146], rel=1e-8)
    kelvin = water.saturation_c(np.array([100.0, 1_000.0, 10_000.0])) + 273.15
    assert kelvin == pytest.approx([372.755919, 453.035632, 584.149488], rel=1e-8)


def test_coolant_pump_cavitates_only_when_its_suction_pressure_is_gone():
    """Full margin at pressure; with 5 MPa lost, near boiling, head falls and vibration rises."""
    whole = tags("coolant_pump")
    margin = tags("coolant_pump", around={"suction_loss_kpa": np.array([4_000.0])})
    gone = tags("coolant_pump", around={"suction_loss_kpa": np.array([5_100.0])})
    assert margin == pytest.approx(whole)
    assert gone["pressure_drop"] < 0.97 * whole["pressure_drop"]
    assert gone["flow_rate"] < whole["flow_rate"]
    assert gone["vibration_rms"] > 1.5 * whole["vibration_rms"]


def test_feedwater_pump_cavitates_where_wear_meets_load():
    """New it is quiet at every load; worn, the last tenth of load shakes it more than speed explains."""
    quiet = tags("feedwater_pump", 1.0, 1.1)["vibration_rms"] / tags("feedwater_pump", 1.0)["vibration_rms"]
    worn = tags("feedwater_pump", FAIL, 1.1)["vibration_rms"] / tags("feedwater_pump", FAIL)["vibration_rms"]
    assert quiet < 1.12
    assert worn > 1.3


def test_feedwater_pump_slows_less_than_its_flow():
    """Steam pressure stands against it: half of the flow still needs most of the head and of the speed."""
    half, full = tags("feedwater_pump", load=0.5), tags("feedwater_pump")
    assert half["flow_rate"] == pytest.approx(full["flow_rate"] / 2, rel=1e-2)
    assert half["pressure_drop"] > 0.75 * full["pressure_drop"]
    assert 0.75 < half["shaft_speed"] / full["shaft_speed"] < 0.9


def test_only_the_pump_with_a_shaft_seal_leaks_past_it():
    """A canned-motor pump has no seal; in the other one leakage goes with the cube of the worn gap."""
    assert "seal_leakage" not in tags("coolant_pump")
    new, worn = tags("feedwater_pump"), tags("feedwater_pump", 0.8)
    assert worn["seal_leakage"] / new["seal_leakage"] == pytest.approx(2.0**3)


@given(conductance=st.floats(0.0, 1e5), hot=st.floats(1.0, 5e3), ratio=st.floats(1e-3, 0.999))
def test_effectiveness_is_a_share(conductance, hot, ratio):
    """No exchanger transfers less than nothing or more than everything."""
    found = heat_exchanger.effectiveness(np.array([conductance]), np.array([ratio * hot]), np.array([hot]))
    assert 0.0 <= found[0] <= 1.0


def test_plugging_costs_what_fouling_alone_does_not(monkeypatch):
    """The same fouling with no tube plugged leaves hotter steam; a new unit has none plugged."""
    new, plugged = tags("heat_exchanger"), tags("heat_exchanger", FAIL)
    monkeypatch.setattr(heat_exchanger, "PLUGGED_MAX", 0.0)
    assert tags("heat_exchanger") == new
    assert (
        tags("heat_exchanger", FAIL)["secondary_temperature_out"] > plugged["secondary_temperature_out"] + 1
    )


def test_rod_falls_slower_against_flow_and_drag():
    """Full flow holds the rod up a little, worn guides much; at a standstill it falls fastest."""
    still, flowing, worn = (tags("control_rod_drive", p, load) for p, load in [(1, 0), (1, 1), (FAIL, 1)])
    assert still["drop_time"] < flowing["drop_time"] < 1.2
    assert worn["drop_time"] > 1.5 * flowing["drop_time"]


def test_rod_drive_is_cold_and_currentless_in_an_outage():
    """The rods are in; nothing holds them."""
    found = tags("control_rod_drive", load=0.0)
    assert found["gripper_current"] == found["lift_current"] == 0.0
    assert found["coil_temperature"] < tags("control_rod_drive")["coil_temperature"] - 50


def test_stem_factor_is_that_of_a_power_screw():
    """Without friction, work in is work out: torque x turn = thrust x lead; friction only adds."""
    smooth, rough = valve.stem_factor_m(np.array([0.0, 0.15]))
    assert smooth * 2.0 * np.pi == pytest.approx(valve.LEAD_M)
    assert rough > 2.0 * smooth


def test_slip_meets_the_torque_it_was_asked_for():
    """Kloss' formula put back gives the torque; a stalled motor stays at the last slip."""
    torque = np.array([1.0, 5.0, 15.0])
    relative = valve.slip(torque) / valve.BREAKDOWN_SLIP
    assert valve.BREAKDOWN_NM * 2.0 / (relative + 1.0 / relative) == pytest.approx(torque)
    assert valve.slip(np.array([50.0])) < valve.BREAKDOWN_SLIP


def test_closed_valve_needs_more_thrust_than_a_worn_flowing_one():
    """Load moves thrust as much as wear does: a model must tell them apart by the packing."""
    closed, worn = tags("motor_operated_valve", 1.0, 0.0), tags("motor_operated_valve", FAIL, 1.0)
    assert closed["stem_thrust"] > worn["stem_thrust"]
    assert closed["packing_friction"] < 0.6 * worn["packing_friction"]


def test_pressure_holds_until_the_bank_can_no_more():
    """Half worn, the bank still gives all that is asked; failed, it does not, and pressure sags."""
    new, half, failed = (tags("pressuriser_heater", p) for p in (1.0, 0.5, FAIL))
    assert half["heater_power"] == new["heater_power"]
    assert half["pressure"] == new["pressure"] == FORCED_CIRCULATION.primary_kpa
    assert failed["heater_power"] < 0.95 * new["heater_power"]
    assert failed["pressure"] < 0.99 * new["pressure"]


def test_heater_obeys_ohm_while_it_is_saturated():
    """At full power current and resistance give the supply's voltage back."""
    t = tags("pressuriser_heater", 0.2)
    assert np.sqrt(3.0) * t["heater_current"] * t["bank_resistance"] == pytest.approx(480.0)


def test_natural_circulation_has_no_coolant_pump():
    """It is refused, with the reason and the way out; every other type is there."""
    with pytest.raises(ConfigError, match="natural_circulation reactor has no reactor coolant pump"):
        unit("coolant_pump", NATURAL_CIRCULATION)
    for kind in set(model_types()) - {"coolant_pump"}:
        unit(kind, NATURAL_CIRCULATION)


def test_reactor_type_that_is_not_simulated_is_refused_with_the_known_ones():
    """A test rig has no nominal point."""
    with pytest.raises(ConfigError, match="forced_circulation, natural_circulation"):
        preset("test_rig")


def test_buoyant_flow_goes_with_the_cube_root_of_power():
    """An eighth of the power drives half of the flow; pumps would give an eighth."""
    for reactor, share in ((NATURAL_CIRCULATION, 0.5), (FORCED_CIRCULATION, 0.125)):
        low, full = (tags("heat_exchanger", load=load, reactor=reactor)["flow_rate"] for load in (0.125, 1.0))
        assert low / full == pytest.approx(share)


@pytest.mark.parametrize("reactor", PRESETS.values(), ids=list(PRESETS))
def test_nominal_point_of_a_reactor_balances(reactor):
    """The core's heat is what the steam takes, within 3 %, and the generators bring the core's inlet back."""
    rise = reactor.core_outlet_c - reactor.core_inlet_c
    core_kw = reactor.primary_kg_s * reactor.primary_kj_kg_k * rise
    found = [tags("heat_exchanger", reactor=reactor, seed=seed) for seed in SEEDS]
    steam_c = np.mean([t["secondary_temperature_out"] for t in found])
    steam_kw = reactor.feedwater_kg_s * reactor.secondary_kj_kg_k * (steam_c - reactor.feedwater_c)
    assert steam_kw == pytest.approx(core_kw, rel=0.03)
    assert np.mean([t["temperature_out"] for t in found]) == pytest.approx(reactor.core_inlet_c, abs=1.5)
    assert steam_c > water.saturation_c(np.array([reactor.steam_kpa]))[0]  # superheated


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def sixth_type(tmp_path, monkeypatch):
    """The page's example in place: the module beside the others, the configuration in a file."""
    (code,), (config,) = blocks("python"), blocks("yaml")
    (tmp_path / "station_battery.py").write_text(code)
    (tmp_path / "reactor_config.yaml").write_text(config)
    monkeypatch.setattr(components, "__path__", [*components.__path__, str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    yield parse_fleet(yaml.safe_load(config), "the page")
    sys.modules.pop(f"{components.__name__}.station_battery", None)


def test_the_page_adds_a_type_with_one_module_and_the_configuration(sixth_type):
    """The example is simulated and owes what every type owes; nothing else was touched."""
    place = ComponentId("TX01", "R1", "station_battery")
    config = sixth_type.components()[place]
    declared = {name: {"range": tag.range} for name, tag in config.tags.items()}
    assert list(model("station_battery").spans) == list(declared)
    assert outside(over_life_and_load(unit("station_battery")), declared) == {}
    columns = ReactorSimulator(config, **place._asdict(), random_seed=7).simulate(400)
    assert columns["true_RUL"][0] == 250
    worn, new = columns["internal_resistance"][200:250].mean(), columns["internal_resistance"][:50].mean()
    assert worn > 1.5 * new


def test_the_commands_on_the_page_run(sixth_type, tmp_path):
    """`check` shows the type's registers and `simulate` writes its file."""
    app = typer.Typer()
    app.command()(check)
    app.command()(simulate)
    lines = blocks("sh")[0].replace("\\\n", " ").strip().splitlines()
    results = [CliRunner().invoke(app, shlex.split(line)[1:], catch_exceptions=False) for line in lines]
    assert [result.exit_code for result in results] == [0, 0], results
    assert "TX01/R1/station_battery" in results[0].output
    assert (tmp_path / "battery.csv").read_text().count("\n") == 401


def test_a_reactors_type_reaches_its_components():
    """The same component by natural circulation has that plant's flow; a type that lacks it says so."""
    flows = {}
    for kind in ("forced_circulation", "natural_circulation"):
        fleet = parse_fleet({"S": {"R": {"reactor_type": kind, "heat_exchanger": {}}}}, "test")
        [(place, component)] = fleet.components().items()
        simulator = ReactorSimulator(component, **place._asdict(), random_seed=1)
        flows[kind] = simulator.simulate_cycle()["flow_rate"]
    assert flows["natural_circulation"] > 1.5 * flows["forced_circulation"]
    fleet = parse_fleet({"S": {"R": {"reactor_type": "natural_circulation", "coolant_pump": {}}}}, "test")
    [(place, component)] = fleet.components().items()
    with pytest.raises(ConfigError, match="coolant_pump"):
        ReactorSimulator(component, **place._asdict())
