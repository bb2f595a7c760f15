"""`python -m bench.fleet_histories FOLDER`: a fleet's histories, sound and struck, for `benchmark fleet`.

A table a component type, `FOLDER/TYPE.parquet`, with the columns of `edge-agent simulate`. Each unit has a
seed, a wear rate and a duty of its own, and at most one fault, which begins anywhere in the middle of its
sound life, so that no model can learn when. Upstream components wear at rates of their own.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.progress import track

from edge_agent.simulation.batch import Batch, write
from shared.fault_config import ScheduledFault
from shared.reactor_config import Component, load_fleet
from shared.schemas import ComponentId

CYCLES_MAX = 1_500  # of a life; what has not failed by then is cut off
DECAY_SPREAD = 0.7  # sigma of the lognormal wear rate: lives from 50 cycles to over a thousand
FAULT_AT = (0.25, 0.7)  # of the sound life
SITE, REACTOR = "TX01", "R1"

# Those that make sense for the type, process and transmitter; a spike or a drop is over before it is told.
SENSOR_FAULTS = ("sensor_bias", "sensor_drift", "sensor_stuck", "sensor_noise")
WEAR_FAULTS = ("sudden_failure", "accelerated_decay")
FAULTS = {
    "coolant_pump": ("leak", "bearing_spall", *WEAR_FAULTS, *SENSOR_FAULTS),
    "heat_exchanger": ("leak", "fouling_surge", *WEAR_FAULTS, *SENSOR_FAULTS),
}


def main() -> None:
    """Write a table a component type."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet_histories", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--config", type=Path, default=Path("reactor_config.yaml"))
    parser.add_argument("--sound", type=int, default=180, help="units without a fault, of each type")
    parser.add_argument("--struck", type=int, default=36, help="units of each type and fault")
    parser.add_argument("--seed", type=int, default=1000)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    components = load_fleet(options.config).components()
    for kind, faults in FAULTS.items():
        wanted = [None] * options.sound + [fault for fault in faults for _ in range(options.struck)]
        place = ComponentId(SITE, REACTOR, kind)
        units = track(list(enumerate(wanted)), kind)
        tables = (
            table
            for run, fault in units
            for table in unit_history(place, components, fault, run, options.seed + run)
        )
        rows = write(tables, options.folder / f"{kind}.parquet")
        print(f"{options.folder / kind}.parquet: {rows} rows, {len(wanted)} units, seed {options.seed}")


def unit_history(
    place: ComponentId, components: dict[ComponentId, Component], fault: str | None, run: int, seed: int
) -> Iterator[pa.Table]:
    """One unit's life as tables, struck by `fault` at a cycle that its seed draws."""
    sound = _batch(place, components, (), run, seed)
    if fault is None:
        yield from sound.histories()
        return
    life = sum(table.num_rows for table in sound.histories())
    share = np.random.Generator(np.random.PCG64([seed, 1])).uniform(*FAULT_AT)
    struck = ScheduledFault(type=fault, at_cycle=int(life * share))
    yield from _batch(place, components, (struck,), run, seed).histories()


def _batch(
    place: ComponentId,
    components: dict[ComponentId, Component],
    faults: tuple[ScheduledFault, ...],
    run: int,
    seed: int,
) -> Batch:
    section = components[place].model_copy(update={"faults": faults})
    return Batch(
        place,
        section,
        CYCLES_MAX,
        seed,
        decay_spread=DECAY_SPREAD,
        stop_at_failure=True,
        first_run=run,
        others=components,
    )


if __name__ == "__main__":
    main()
