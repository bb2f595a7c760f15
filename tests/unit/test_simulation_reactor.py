"""The components of one reactor feel each other: what a pump gives reaches the steam generator."""

from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import typer
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from edge_agent.commands.simulate import simulate
from edge_agent.simulation import ReactorSimulator
from edge_agent.simulation.batch import Batch
from edge_agent.simulation.components import Drives, drives, model, model_types, takes
from edge_agent.simulation.duty import Duty
from edge_agent.simulation.fault_requests import FaultRequests, ask
from edge_agent.simulation.generators import Columns
from edge_agent.simulation.plant import PLANT_SEED, simulated
from edge_agent.simulation.presets import FORCED_CIRCULATION, preset
from edge_agent.simulation.reactor import Reactor, by_reactor, with_upstream
from shared.fault_config import ScheduledFault
from shared.reactor_config import Component, parse_fleet
from shared.schemas import ComponentId

QUIET = {"decay_type": "linear", "slope": 1e-12, "noise_std": 0.0}
WORN = {"decay_type": "step", "step_cycles": 1e9, "noise_std": 0.0}
PUMPS = FORCED_CIRCULATION.coolant_pumps
SEED, CYCLES = 3, 300
Config = dict[str, Any]


def parts(sections: Config, reactor: str = "forced_circulation") -> dict[ComponentId, Component]:
    return parse_fleet({"TX01": {"R1": {"reactor_type": reactor, **sections}}}, "test").components()


def lives(sections: Config, cycles: int = CYCLES, **kw: Any) -> dict[str, Columns]:
    """Columns by component name, all of one reactor."""
    found = Reactor(parts(sections, **kw), SEED).simulate(cycles)
    return {place.component: columns for place, columns in found.items()}


def struck(**sizes: float) -> Config:
    """A pump that wears nothing but loses `sudden_failure` of performance at cycle 0, or leaks."""
    faults = [{"type": fault, "at_cycle": 0, "size": size} for fault, size in sizes.items()]
    return {**QUIET, "type": "coolant_pump", "faults": faults}


def exchanger(**others: Config) -> Columns:
    return lives({**others, "heat_exchanger": QUIET})["heat_exchanger"]


def running(columns: Columns) -> Columns:
    """Only cycles at a load worth the name: in an outage nothing flows whatever the pump is like."""
    load = Duty(SEED, "TX01", "R1").load(0, len(columns["cycle"]))
    return {name: values[load > 0.1] for name, values in columns.items()}


def test_worn_pump_takes_its_part_of_the_exchangers_primary_flow():
    """Half worn, 7.5 % of one of four pumps' flow is gone: 1.9 % at the exchanger, 3.7 % of its pressure."""
    sound, worn = running(exchanger(pump=struck())), running(exchanger(pump=struck(sudden_failure=0.5)))
    lost = 0.15 * 0.5 / PUMPS
    assert worn["flow_rate"] / sound["flow_rate"] == pytest.approx(1.0 - lost, abs=2e-3)
    assert worn["pressure_drop"] / sound["pressure_drop"] == pytest.approx((1.0 - lost) ** 2, abs=4e-3)


def test_less_primary_flow_leaves_the_exchanger_colder_by_what_the_heat_balance_says():
    """Four worn pumps: the same heat, within 2 %, is taken from 7.5 % less water, which leaves 3 K colder."""
    sound = running(exchanger(**{f"pump_{n}": struck() for n in range(PUMPS)}))
    worn = running(exchanger(**{f"pump_{n}": struck(sudden_failure=0.5) for n in range(PUMPS)}))
    assert worn["flow_rate"] / sound["flow_rate"] == pytest.approx(0.925, abs=2e-3)
    colder = sound["temperature_out"] - worn["temperature_out"]
    full = sound["temperature_in"] - sound["temperature_out"]
    assert colder / full == pytest.approx(1.0 / 0.925 - 1.0, abs=0.02)
    assert 2.0 < colder[0] < 4.0
    cooler = sound["secondary_temperature_out"] - worn["secondary_temperature_out"]
    assert 0.1 < cooler[0] < 2.0


@pytest.mark.parametrize("reactor", ["forced_circulation", "natural_circulation"])
def test_heat_given_is_heat_taken_whatever_the_pumps_do(reactor):
    """Primary and secondary side of the exchanger balance to the last digits, with worn pumps upstream."""
    pumps = {"feedwater_pump": {**struck(sudden_failure=0.6), "type": "feedwater_pump"}}
    if reactor == "forced_circulation":
        pumps |= {"coolant_pump": struck(sudden_failure=0.6, leak=3.0)}
    found = running(lives({**pumps, "heat_exchanger": QUIET}, reactor=reactor)["heat_exchanger"])
    point = preset(reactor)
    given_kw = found["flow_rate"] * point.primary_kj_kg_k
    given_kw = given_kw * (found["temperature_in"] - found["temperature_out"])
    taken_kw = found["secondary_flow_rate"] * point.secondary_kj_kg_k
    taken_kw = taken_kw * (found["secondary_temperature_out"] - found["secondary_temperature_in"])
    assert given_kw == pytest.approx(taken_kw, rel=1e-9)


def test_worn_feedwater_pump_leaves_less_and_hotter_steam():
    """Two share the feedwater: a worn one takes its half of its loss from the secondary side alone."""
    kind = {"type": "feedwater_pump"}
    sound = running(exchanger(feed=struck() | kind))
    worn = running(exchanger(feed=struck(sudden_failure=0.5) | kind))
    share = worn["secondary_flow_rate"] / sound["secondary_flow_rate"]
    assert share.max() == pytest.approx(1.0 - 0.15 * 0.5 / 2, abs=3e-3)
    assert np.all(worn["secondary_temperature_out"] > sound["secondary_temperature_out"])
    assert np.array_equal(worn["flow_rate"], sound["flow_rate"])


def test_unsimulated_pumps_are_sound_and_no_more_than_the_reactor_has_count():
    """Two, four or eight leaking pumps take half, all and all of a pump's loss from the flow."""
    sound = exchanger()["flow_rate"][-1]
    found = {
        count: exchanger(**{f"pump_{n}": struck(leak=1.0) for n in range(count)})["flow_rate"][-1] / sound
        for count in (2, 4, 8)
    }
    assert 1.0 - found[2] == pytest.approx((1.0 - found[4]) / 2, rel=0.1)
    assert found[8] == pytest.approx(found[4], abs=0.01)
    assert 0.88 < found[4] < 0.91


def test_exchanger_without_a_pump_upstream_is_that_of_a_simulator_alone():
    """No pump in the file, or one of another reactor: the bits of nominal surroundings."""
    alone = ReactorSimulator(
        QUIET, site_id="TX01", reactor_id="R1", component="heat_exchanger", random_seed=3
    )
    expected = alone.simulate(CYCLES)
    found = exchanger(control_rod_drive=QUIET, motor_operated_valve=QUIET)
    for name, values in expected.items():
        assert np.array_equal(found[name], values), name


def test_outage_with_a_leak_shows_no_flow_below_nothing():
    """At a standstill a leaking, spalled pump neither flows backwards nor shakes; nobody divides by zero."""
    pump = struck(leak=3.0) | {"faults": [{"type": "leak", "at_cycle": 0, "size": 3.0}]}
    pump["faults"].append({"type": "bearing_spall", "at_cycle": 0})
    with np.errstate(all="raise", under="ignore"):
        found = lives({"pump": pump, "heat_exchanger": QUIET}, 3_000)
    still = Duty(SEED, "TX01", "R1").load(0, 3_000) == 0.0
    assert still.any()
    for tag in ("flow_rate", "pressure_drop", "vibration_rms"):
        assert np.all(found["pump"][tag][still] == 0.0), tag
    assert np.all(found["heat_exchanger"]["flow_rate"][still] == 0.0)


def test_lost_primary_pressure_reaches_the_pump_and_through_it_the_exchanger():
    """A gone heater bank alone leaves the pump its margin; with a wide leak of the vessel it cavitates."""
    heater = {**QUIET, "type": "pressuriser_heater"}
    kinds = ("heat_exchanger", "coolant_pump", "pressuriser_heater", "motor_operated_valve")
    order = with_upstream(ComponentId("TX01", "R1", kinds[0]), parts(dict.fromkeys(kinds, QUIET)))
    assert tuple(place.component for place in order) == kinds[:3]
    gone = {**heater, "faults": [{"type": "sudden_failure", "at_cycle": 0, "size": 1.0}]}
    found = lives({"coolant_pump": QUIET, "heater": gone}, 50)
    sound = lives({"coolant_pump": QUIET, "heater": heater}, 50)
    assert np.all(found["heater"]["pressure"] < sound["heater"]["pressure"])
    assert found["coolant_pump"]["flow_rate"] == pytest.approx(sound["coolant_pump"]["flow_rate"])
    low = {"primary_pressure": np.array([0.655])}
    unit = model("coolant_pump")(np.random.default_rng(1))
    one = np.ones(1)
    assert unit.tags(one, one, low)["flow_rate"][0] < 0.99 * unit.tags(one, one)["flow_rate"][0]
    assert unit.tags(one, one, low)["vibration_rms"][0] > 1.2 * unit.tags(one, one)["vibration_rms"][0]


def test_leak_makes_a_pump_with_little_margin_cavitate():
    """A worn feedwater pump shakes with a leak in its suction and not without; a new one bears the leak."""
    kind = {**QUIET, "type": "feedwater_pump"}
    shaken = {}
    for loss in (0.001, 0.6):
        for leak in (0.0, 1.0):
            faults = [
                {"type": "sudden_failure", "at_cycle": 0, "size": loss},
                {"type": "leak", "at_cycle": 0, "size": leak},
            ]
            shaken[loss, leak] = lives({"pump": {**kind, "faults": faults}}, 40)["pump"]["vibration_rms"][-1]
    assert shaken[0.001, 1.0] == pytest.approx(shaken[0.001, 0.0], rel=0.1)
    assert shaken[0.6, 1.0] > 1.25 * shaken[0.6, 0.0]


def test_leak_injected_into_the_running_plants_pump_reaches_its_exchanger(tmp_path):
    """From the injected cycle on, and only at that reactor; a plant that starts again shows the same."""
    sections = {"coolant_pump": QUIET, "heat_exchanger": QUIET}
    fleet = {"TX01": {"R1": sections, "R2": sections}}
    components = parse_fleet(fleet, "test").components()
    path = tmp_path / "faults.jsonl"

    def requests() -> FaultRequests:
        found = FaultRequests(path)
        found.load()
        return found

    plant, sound = simulated(components, SEED, requests=requests()), simulated(components, SEED)
    for _ in range(5):
        assert next(plant) == next(sound)
    ask(path, ComponentId("TX01", "R1", "coolant_pump"), ScheduledFault(type="leak", at_cycle=0))
    rows = [next(plant) for _ in range(30)]
    expected = [next(sound) for _ in range(30)]
    flows = [
        (row[1].values["flow_rate"], true[1].values["flow_rate"])
        for row, true in zip(rows, expected, strict=True)
    ]
    assert rows[0][1].component_id == ComponentId("TX01", "R1", "heat_exchanger")
    assert flows[0][0] < flows[0][1]
    assert flows[-1][0] / flows[-1][1] == pytest.approx(1.0 - 0.104 * 0.95 / PUMPS, abs=2e-3)
    assert rows[-1][1].labels["fault"] is None
    assert [row[2:] for row in rows] == [row[2:] for row in expected]
    again = simulated(components, SEED, 5, requests())
    assert [next(again) for _ in range(30)] == rows


kinds = st.sampled_from(["coolant_pump", "feedwater_pump", "heat_exchanger", "pressuriser_heater"])
struck_by = st.sampled_from(["leak", "sudden_failure", "accelerated_decay", "spike", "sensor_noise"])


@st.composite
def reactors(draw) -> Config:
    """Up to six components in any order, some worn by a random law, some struck."""
    found: Config = {}
    for number, kind in enumerate(draw(st.lists(kinds, min_size=1, max_size=6))):
        section: Config = {
            "type": kind,
            "decay_type": draw(st.sampled_from(["exponential", "wiener", "step"])),
        }
        if kind != "heat_exchanger" and draw(st.booleans()):
            fault = draw(struck_by)
            section["faults"] = [{"type": fault, "at_cycle": draw(st.integers(0, 60))}]
        found[f"c{number}"] = section
    return found


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    sections=reactors(), seed=st.integers(0, 2**32), cuts=st.lists(st.integers(1, 40), min_size=1, max_size=5)
)
def test_reactor_at_once_one_by_one_and_in_parts_is_the_same_bits(sections, seed, cuts):
    """Every component of it, whatever wears and is struck upstream."""
    whole = Reactor(parts(sections), seed).simulate(sum(cuts))
    cut = Reactor(parts(sections), seed)
    found = [cut.simulate(count) for count in cuts]
    single = Reactor(parts(sections), seed)
    rows = [single.simulate_cycle() for _ in range(sum(cuts))]
    for place, columns in whole.items():
        for name, values in columns.items():
            joined = np.concatenate([part[place][name] for part in found])
            one_by_one = np.array([row[place][name] for row in rows], dtype=values.dtype)
            if values.dtype == np.float64:
                values, joined, one_by_one = (v.view(np.int64) for v in (values, joined, one_by_one))
            assert np.array_equal(values, joined), (place, name)
            assert np.array_equal(values, one_by_one), (place, name)


@pytest.mark.parametrize("cut", [1, 4_096, 8_192, 9_999])
def test_long_history_of_a_reactor_has_no_seam(cut):
    """Over 10,000 cycles, blocks of load, segments and a fault upstream: a cut anywhere changes nothing."""
    pump = {"decay_type": "gamma", "drift": 1e-5, "faults": [{"type": "leak", "at_cycle": 3_333}]}
    components = parts({"coolant_pump": pump, "heat_exchanger": QUIET, "feedwater_pump": QUIET})
    whole, cut_up = Reactor(components, SEED).simulate(10_000), Reactor(components, SEED)
    found = [cut_up.simulate(cut), cut_up.simulate(10_000 - cut)]
    for place, columns in whole.items():
        for name, values in columns.items():
            joined = np.concatenate([part[place][name] for part in found])
            assert np.array_equal(values, joined), (place, name)


@settings(max_examples=20, deadline=None)
@given(sections=reactors(), seed=st.integers(0, 2**32))
def test_component_with_its_upstream_alone_is_the_one_of_the_whole_reactor(sections, seed):
    """What is not upstream does not matter, so that one component can be simulated without the rest."""
    components = parts(sections)
    whole = Reactor(components, seed).simulate(60)
    for place in components:
        alone = Reactor(with_upstream(place, components), seed).simulate(60)[place]
        for name, values in alone.items():
            assert values.tolist() == whole[place][name].tolist() or name == "fault", (place, name)


FLEET = """
TX01:
  R1:
    heat_exchanger: {lambda: 0.002}
    coolant_pump: {decay_type: wiener, faults: [{type: leak, at_cycle: 10}]}
    feedwater_pump: {}
    pressuriser_heater: {}
  R2:
    heat_exchanger: {}
ID01:
  R1:
    coolant_pump: {}
    heat_exchanger: {}
    pump_rig: {}
"""


@pytest.fixture
def command(tmp_path):
    """`edge-agent simulate` over FLEET; gives the columns by component key."""
    (tmp_path / "fleet.yaml").write_text(FLEET)
    app = typer.Typer()
    app.command()(simulate)

    def invoke(*options: str) -> dict[str, dict[str, list[Any]]]:
        path = tmp_path / "out.parquet"
        where = ["--config", str(tmp_path / "fleet.yaml"), "--output-path", str(path)]
        result = CliRunner().invoke(app, [*where, *options], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        found: dict[str, dict[str, list[Any]]] = {}
        for row in pyarrow.parquet.read_table(path).to_pylist():
            key = f"{row['site_id']}/{row['reactor_id']}/{row['component']}"
            for name, value in row.items():
                if name not in ("run", "timestamp") and value is not None:
                    found.setdefault(key, {}).setdefault(name, []).append(value)
        return found

    return invoke


def test_component_is_the_same_in_the_fleets_file_alone_and_in_the_running_plant(command):
    """One seed, three ways: the exchanger feels the same pump in each of them."""
    fleet = command("--cycles", "40", "--seed", str(PLANT_SEED))
    plant = simulated({p: c for p, c in fleet_components().items() if c.type != "pump_rig"}, PLANT_SEED)
    rows = [next(plant) for _ in range(40)]
    for key, columns in fleet.items():
        site, reactor, component = key.split("/")
        alone = command(
            *("--cycles", "40", "--seed", str(PLANT_SEED)),
            *("--site-id", site, "--reactor-id", reactor, "--component", component),
        )
        assert alone == {key: columns}
        served = [row.values for tick in rows for row in tick if row.component_id.key == key]
        for tag in served[0]:
            assert [values[tag] for values in served] == columns[tag], (key, tag)


def fleet_components() -> dict[ComponentId, Component]:
    return parse_fleet(yaml.safe_load(FLEET), "test").components()


def test_component_alone_is_the_fleets_also_with_runs_of_spread_wear(command):
    """Each component has factors of its own, the same upstream of another as in a batch of its own."""
    spread = ["--cycles", "40", "--runs", "3", "--decay-spread", "0.7", "--fault", "sensor_bias@5"]
    fleet = command(*spread)
    alone = command(*spread, "--site-id", "TX01", "--reactor-id", "R1", "--component", "coolant_pump")
    assert alone["TX01/R1/coolant_pump"] == fleet["TX01/R1/coolant_pump"]
    ends = {key: columns["performance"][39::40] for key, columns in fleet.items()}
    assert len({str(values) for values in ends.values()}) == len(ends)


def test_runs_of_an_exchanger_feel_pumps_that_wear_at_rates_of_their_own():
    """The pump upstream is the pump of its own batch: its share can be told from its own history."""
    components = parts({"heat_exchanger": QUIET, "coolant_pump": {"noise_std": 0.0, "lambda": 0.02}})
    batches = [
        Batch(place, config, 120, seed=5, runs=4, decay_spread=0.7, others=components)
        for place, config in components.items()
    ]
    felt, pump = ([t.to_pydict() for t in batch.histories()] for batch in batches)
    for run in range(4):
        load = Duty(5 + run, "TX01", "R1").load(0, 120)
        gone = 1.0 - np.array(pump[run]["flow_rate"]) / pump[run]["flow_rate"][0] * load[0] / load
        seen = np.array(felt[run]["flow_rate"]) / felt[run]["flow_rate"][0] * load[0] / load
        assert 1.0 - seen == pytest.approx(gone / PUMPS, rel=0.02, abs=1e-9)
    assert len({table["performance"][100] for table in pump}) == 4


def test_every_type_that_drives_says_how_and_what_is_taken_is_driven():
    """No name is taken that nothing drives but a fault, and each driver keeps its promise at full load."""
    driven = {name for kind in model_types() for name in drives(kind)}
    taken = {name for kind in model_types() for name in takes(kind)}
    assert taken == driven == {"primary_flow", "feedwater_flow", "primary_pressure"}
    for kind in model_types():
        found = model(kind)(np.random.default_rng(1))
        assert isinstance(found, Drives) == bool(drives(kind))
        if isinstance(found, Drives):
            for load in (np.zeros(1), np.full(1, 0.5), np.ones(1)):
                shares = found.shares(found.tags(np.ones(1), load), load)
                assert tuple(shares) == found.drives
                assert all(share == pytest.approx(1.0, abs=0.05) for share in shares.values())


def test_components_are_grouped_by_reactor_in_their_order():
    """The order of the file is kept: it is that of the rows."""
    found = by_reactor(fleet_components())
    assert [place.key for group in found for place in group] == [place.key for place in fleet_components()]
    assert [len(group) for group in found] == [4, 1, 3]
