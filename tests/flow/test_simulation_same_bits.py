"""The simulation's bits on the CPUs that this one can pass for.

NumPy and the C library choose their loops by what the CPU has, and can be told to see less of it: AVX-512
(X86_V4 and later in NumPy), then AVX2 with its fused multiply-add too (X86_V3; AVX2 and FMA in glibc).
Decay laws come in turn; SAME_BITS_ALL=1 in the environment takes each with every fault.
"""

import os
import subprocess
import sys
from functools import cache
from typing import Any

import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

CYCLES = 300  # past most failures
SCRIPT = """
import hashlib, itertools, os, sys
import numpy as np
from edge_agent.simulation import ReactorSimulator
from edge_agent.simulation.reactor import Reactor
from edge_agent.simulation.components import model, model_types
from edge_agent.simulation.faults import FAULT_TYPES, PROCESSES
from shared.reactor_config import DECAY_FIELDS, parse_fleet

def digest_of(columns):
    digest = hashlib.sha256()
    for name, column in columns.items():
        digest.update(str(column.tolist()).encode() if column.dtype == object else column.tobytes())
    return digest.hexdigest()

cycles = int(sys.argv[1])
reactors = itertools.cycle(("forced_circulation", "natural_circulation"))
in_turn = itertools.cycle(DECAY_FIELDS)
pairs = itertools.product(model_types(), FAULT_TYPES)
every = itertools.product(model_types(), FAULT_TYPES, DECAY_FIELDS)
for component, fault, law in every if "SAME_BITS_ALL" in os.environ else zip(*zip(*pairs), in_turn):
    if fault in PROCESSES and not set(PROCESSES[fault].needs) & set(model(component).spans):
        continue
    reactor = "forced_circulation" if component == "coolant_pump" else next(reactors)
    config = {"decay_type": law, "faults": [{"type": fault, "at_cycle": 70}], "reactor_type": reactor}
    unit = ReactorSimulator(config, site_id="A", reactor_id="B", component=component, random_seed=5)
    print(component, fault, law, reactor, digest_of(unit.simulate(cycles)))
for reactor in ("forced_circulation", "natural_circulation"):  # long enough for outages
    kinds = [kind for kind in model_types() if reactor == "forced_circulation" or kind != "coolant_pump"]
    whole = {"reactor_type": reactor, **{kind: {} for kind in kinds}}
    plant = Reactor(parse_fleet({"A": {"B": whole}}, "test").components(), random_seed=5)
    for place, columns in plant.simulate(4 * cycles).items():
        print("coupled", reactor, place.key, digest_of(columns))
probe = np.linspace(-3.0, 3.0, 4001)
print("NUMPY", hashlib.sha256(np.exp(probe).tobytes() + np.sin(probe).tobytes()).hexdigest())
"""
AVX512 = [name for name in __cpu_dispatch__ if name == "X86_V4" or name.startswith("AVX512")]
NARROWER = {
    "without AVX-512": (AVX512, "-AVX512F,-AVX512VL,-AVX512DQ"),
    "without AVX2 and FMA": ([*AVX512, "X86_V3"], "-AVX512F,-AVX512VL,-AVX512DQ,-AVX2,-FMA,-AVX2_Usable"),
}


@cache
def lines_here() -> list[str]:
    return lines([], None)


def lines(without: list[str], tunables: str | None) -> list[str]:
    """What the script prints on a CPU that lacks features."""
    environment: dict[str, Any] = dict(os.environ)
    if tunables is not None:
        environment["NPY_DISABLE_CPU_FEATURES"] = " ".join(without)
        environment["GLIBC_TUNABLES"] = f"glibc.cpu.hwcaps={tunables}"
    command = [sys.executable, "-c", SCRIPT, str(CYCLES)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("cpu", NARROWER)
def test_narrower_cpu_gives_the_same_bits(cpu, record_property):
    """Every component, law and fault, alone, and whole reactors; NumPy's own exp shows if the CPU differs."""
    features, tunables = NARROWER[cpu]
    seen = [name for name in features if __cpu_features__.get(name)]
    if not seen:
        pytest.skip(f"this CPU is one {cpu} already, or of another architecture")
    *here, numpy_here = lines_here()
    *there, numpy_there = lines(seen, tunables)
    assert len(here) > 60
    assert sum(line.startswith("coupled") for line in here) > 10
    assert there == here
    record_property("numpy_differs", numpy_there != numpy_here)
