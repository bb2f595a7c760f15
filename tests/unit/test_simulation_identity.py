"""One cycle and a thousand, whatever the law, the faults and the cuts: the same bits (issue 4).

IDENTITY_CYCLES makes the history of each component and fault alone longer.
"""

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.simulation import ReactorSimulator
from edge_agent.simulation.components import model, model_types
from edge_agent.simulation.faults import FAULT_TYPES, PROCESSES
from shared.fault_config import WEAR_FAULTS
from shared.reactor_config import DECAY_FIELDS

LAWS = list(DECAY_FIELDS)
FIELDS = {
    "lambda": st.floats(0.0005, 0.2),
    "slope": st.floats(0.0005, 0.2),
    "scale": st.floats(5.0, 1000.0),
    "shape": st.floats(0.5, 5.0),
    "drift": st.floats(0.001, 0.2),
    "drift_spread": st.floats(0.0, 0.5),
    "volatility": st.floats(0.0001, 0.05),
    "growth": st.floats(0.0005, 0.2),
    "exponent": st.floats(2.1, 6.0),
    "step_cycles": st.floats(1.0, 60.0),
    "step_size": st.floats(0.01, 0.5),
}
LONG_CYCLES = 10_000
FAULT_CYCLES = int(os.environ.get("IDENTITY_CYCLES", "500"))


def makes_sense(fault: str, component: str) -> bool:
    return fault not in PROCESSES or bool(set(PROCESSES[fault].needs) & set(model(component).spans))


@st.composite
def wear(draw) -> dict[str, Any]:
    """A decay law with its fields, some left to their defaults."""
    law = draw(st.sampled_from(LAWS))
    fields = {name: draw(st.none() | FIELDS[name]) for name in DECAY_FIELDS[law]}
    return {"decay_type": law, "fail_threshold": draw(st.floats(0.05, 0.95))} | {
        name: value for name, value in fields.items() if value is not None
    }


@st.composite
def faulty(draw, component: str) -> list[dict[str, Any]]:
    """Up to five faults that make sense for the component, some of which end."""
    kinds = [fault for fault in FAULT_TYPES if makes_sense(fault, component)]
    found = []
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=5)):
        fault = {"type": kind, "at_cycle": draw(st.integers(0, 120))}
        if kind not in WEAR_FAULTS:
            fault |= {"duration_cycles": draw(st.none() | st.integers(1, 60))}
        found.append(fault)
    return found


def simulator(config: dict[str, Any], component: str, seed: int, scale: float = 1.0) -> ReactorSimulator:
    return ReactorSimulator(
        config, site_id="TX01", reactor_id="R1", component=component, random_seed=seed, decay_scale=scale
    )


def bits(columns: dict[str, Any]) -> dict[str, Any]:
    """Columns as something that compares bit for bit, NaN included."""
    return {
        name: np.asarray(column).view(np.int64).tolist()
        if np.asarray(column).dtype == np.float64
        else list(column)
        for name, column in columns.items()
    }


def one_by_one(source: ReactorSimulator, cycles: int) -> dict[str, Any]:
    rows = [source.simulate_cycle() for _ in range(cycles)]
    names = [name for name in rows[0] if name not in ("site_id", "reactor_id", "component")]
    return {name: np.array([row[name] for row in rows]) for name in names}


@settings(max_examples=80, deadline=None)
@given(data=st.data(), law=wear(), seed=st.integers(0, 2**32), component=st.sampled_from(model_types()))
def test_many_cycles_at_once_are_the_same_bits_as_one_by_one(data, law, seed, component):
    """simulate(n) and n times simulate_cycle() agree bit for bit, whatever the faults and the cuts."""
    config = law | {"faults": data.draw(faulty(component))}
    cuts = data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=6))
    scale = data.draw(st.floats(0.3, 3.0))
    single = bits(one_by_one(simulator(config, component, seed, scale), sum(cuts)))
    many = simulator(config, component, seed, scale)
    position = 0
    for cut in cuts:
        for name, column in bits(many.simulate(cut)).items():
            assert column == single[name][position : position + cut], name
        position += cut


@settings(max_examples=20, deadline=None)
@given(law=wear(), seed=st.integers(0, 2**32), cut=st.integers(1, 9_999))
def test_blocks_and_segments_leave_no_seam(law, seed, cut):
    """A cut anywhere in 10,000 cycles changes nothing: not at a block of noise, not at a segment's end."""
    whole, parts = simulator(law, "coolant_pump", seed), simulator(law, "coolant_pump", seed)
    expected = whole.simulate(10_000)
    found = [parts.simulate(cut), parts.simulate(10_000 - cut)]
    for name, column in expected.items():
        assert np.array_equal(column, np.concatenate([part[name] for part in found])), name


@settings(max_examples=120, deadline=None)
@given(law=wear(), seed=st.integers(0, 2**32), scale=st.floats(0.3, 3.0))
def test_true_rul_is_the_first_passage_of_the_latent_state(law, seed, scale):
    """It falls by one a cycle to 0 exactly where performance first reaches the threshold, and stays 0."""
    columns = simulator(law, "coolant_pump", seed, scale).simulate(3_000)
    rul, performance = columns["true_RUL"], columns["performance"]
    assert np.array_equal(rul, np.maximum(rul[0] - np.arange(3_000), 0))
    reached = np.flatnonzero(performance <= law["fail_threshold"])
    if len(reached):
        assert rul[0] == reached[0]
    else:
        assert rul[-1] > 0
    assert performance[0] == 1.0
    assert performance.min() >= 0.0
    assert performance.max() <= 1.0


@settings(max_examples=120, deadline=None)
@given(law=wear(), fault=st.sampled_from(FAULT_TYPES), seed=st.integers(0, 2**32), at=st.integers(1, 100))
def test_a_fault_redoes_the_label_once_and_never_wakes_the_dead(law, fault, seed, at):
    """Only a fault that wears changes true_RUL, only at its cycle, only downwards from a failed unit's 0."""
    component = "coolant_pump" if makes_sense(fault, "coolant_pump") else "heat_exchanger"
    columns = simulator(law | {"faults": [{"type": fault, "at_cycle": at}]}, component, seed).simulate(400)
    sound = simulator(law, component, seed).simulate(400)
    rul = columns["true_RUL"]
    assert np.array_equal(rul[:at], sound["true_RUL"][:at])
    assert np.array_equal(rul[at:], np.maximum(rul[at] - np.arange(400 - at), 0))
    if fault not in WEAR_FAULTS:
        assert np.array_equal(rul, sound["true_RUL"])
    if rul[at - 1] == 0:
        assert rul[at] == 0
    reached = np.flatnonzero(columns["performance"] <= law["fail_threshold"])
    failed = np.flatnonzero(rul == 0)
    assert failed[:1].tolist() == reached[:1].tolist()


def agree(config: dict[str, Any], component: str, cycles: int) -> None:
    """One by one, at once, and in three parts give the same history."""
    expected = bits(one_by_one(simulator(config, component, 11), cycles))
    assert bits(simulator(config, component, 11).simulate(cycles)) == expected
    parts = simulator(config, component, 11)
    found = [parts.simulate(count) for count in (1, cycles // 2 - 1, cycles - cycles // 2)]
    assert bits({name: np.concatenate([part[name] for part in found]) for name in found[0]}) == expected


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("component", model_types())
def test_ten_thousand_cycles_with_every_fault_are_the_same_bits(component):
    """A long history in which each fault of the component strikes, one after the other."""
    kinds = [fault for fault in FAULT_TYPES if makes_sense(fault, component)]
    apart = LONG_CYCLES // (len(kinds) + 1)
    faults = [{"type": kind, "at_cycle": apart * at} for at, kind in enumerate(kinds, 1)]
    for fault in faults:
        if fault["type"] not in WEAR_FAULTS:
            fault["duration_cycles"] = 2 * apart  # it still lasts when the next one strikes
    law = LAWS[model_types().index(component) % len(LAWS)]
    agree({"decay_type": law, "faults": faults}, component, LONG_CYCLES)


@pytest.mark.slow
@pytest.mark.parametrize("component", model_types())
@pytest.mark.parametrize("fault", FAULT_TYPES)
def test_every_fault_alone_gives_the_same_bits(component, fault):
    """Struck before the middle, for good."""
    if not makes_sense(fault, component):
        with pytest.raises(ValueError, match=f"{fault} makes no sense for a {component}"):
            simulator({}, component, 11).inject_fault(fault)
        return
    law = LAWS[FAULT_TYPES.index(fault) % len(LAWS)]
    strikes = {"type": fault, "at_cycle": FAULT_CYCLES // 3}
    agree({"decay_type": law, "faults": [strikes]}, component, FAULT_CYCLES)
