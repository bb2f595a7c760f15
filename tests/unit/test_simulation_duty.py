"""What a reactor is asked for: load following, outages, ramps that a plant can follow."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.settings import FAULT, Demo
from edge_agent.simulation import ReactorSimulator, duty
from edge_agent.simulation.duty import CONTROL, CONTROL_CYCLES, LOAD_MAX, RAMP, Duty
from edge_agent.simulation.plant import PLANT_SEED

CYCLES = 20_000
STEEPEST = RAMP + 2.0 * CONTROL / CONTROL_CYCLES  # the day's ramp, and the grid's demand on top
seeds = st.integers(0, 2**32)


def load(seed=7, reactor="R1", first=0, count=CYCLES):
    return Duty(seed, "TX01", reactor).load(first, count)


@given(seed=seeds)
def test_load_stays_within_what_every_model_stands_and_ramps_as_a_plant_can(seed):
    """0 to LOAD_MAX, never further from one cycle to the next than the ramp and the grid's demand."""
    found = load(seed)
    assert found.min() == 0.0
    assert 1.0 < found.max() <= LOAD_MAX < 1.1
    assert abs(np.diff(found)).max() <= STEEPEST


def test_load_follows_the_day_and_is_mostly_high():
    """Most of the time near full power, a good part well below it, and at half of it at times."""
    found = np.concatenate([load(seed) for seed in range(20)])
    assert 0.5 < np.mean(found > 0.97) < 0.75
    assert 0.15 < np.mean((found > 0.45) & (found < 0.9)) < 0.4
    assert np.mean(abs(found - 0.52) < 0.03) > 0.01


def test_outages_are_short_and_rare_and_leave_a_day_between():
    """One in about 500 cycles, at most 33 at no power, and none in the first day."""
    lengths, gaps = [], []
    for seed in range(20):
        still = np.flatnonzero(np.diff(np.concatenate([[0], load(seed) == 0.0, [0]])))
        starts, ends = still[::2], still[1::2]
        lengths += list(ends - starts)
        gaps += [starts[0], *(starts[1:] - ends[:-1])]
    assert 400 < 20 * CYCLES / len(lengths) < 650
    assert min(lengths) >= 7
    assert max(lengths) <= 33
    assert min(gaps) >= duty.DAY_CYCLES


@given(seed=seeds, first=st.integers(0, CYCLES - 1), count=st.integers(1, 9_000))
def test_any_part_is_the_same_bits_as_the_whole(seed, first, count):
    """Random access: no cycle depends on those asked for before, nor on the blocks they are kept in."""
    whole = load(seed, count=CYCLES + 9_000)
    assert load(seed, first=first, count=count).tobytes() == whole[first : first + count].tobytes()


def test_another_process_finds_the_same_bits():
    """A function of seed, reactor and cycle alone: no hash of Python's, no cache, no state."""
    code = (
        "from edge_agent.simulation.duty import Duty; "
        "print(Duty(7, 'TX01', 'R1').load(0, 3000).tobytes().hex())"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    assert found.stdout.decode().strip() == load(count=3_000).tobytes().hex()


def test_reactors_and_seeds_have_a_duty_of_their_own():
    """Two reactors of a site do not ramp together, nor one reactor under two seeds."""
    for other in (load(reactor="R2"), load(seed=8)):
        assert abs(np.corrcoef(load(), other)[0, 1]) < 0.2


def test_kept_load_cannot_be_changed_by_who_asked():
    """It is handed out to every component of the reactor."""
    with pytest.raises(ValueError, match="read-only"):
        load(count=3)[0] = 2.0


def test_components_of_a_reactor_share_its_load():
    """Pump speed and feedwater of one reactor follow the same load; wear does not move it."""
    quiet = {"lambda": 1e-9, "noise_std": 0.0}
    place = {"site_id": "TX01", "reactor_id": "R1", "random_seed": 7}
    speed = ReactorSimulator(quiet, component="coolant_pump", **place).simulate(1_000)["shaft_speed"]
    feed = ReactorSimulator(quiet, component="heat_exchanger", **place).simulate(1_000)
    assert speed / 1_800.0 == pytest.approx(load(count=1_000))
    share = feed["secondary_flow_rate"] / feed["secondary_flow_rate"][0] * load(count=1)[0]
    assert share == pytest.approx(load(count=1_000))


def test_no_reduction_hides_the_fault_of_the_demo():
    """The demo's faulty reactor is at full power about its fault: an alert there tells the fault alone."""
    site, reactor, *_ = FAULT
    cycle = Demo(Path(), 60.0, None).fault_cycle
    duty_of_it = Duty(PLANT_SEED, site, reactor)
    assert duty_of_it.load(cycle - 20, 60).min() > 0.95
    assert duty_of_it.load(0, 200).min() > 0.45
