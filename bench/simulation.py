"""Component-rows per second that the simulation makes, against a bare loop that draws the same noise.

Both: two processes, each its share of a reactor of 40 components, histories of 10,000 cycles as columns in
memory (timestamps, tags, labels), in turns, so that a noisy machine slows both. Types and decay laws come
in turn, wear is slowed so that a unit lives for about its history, and all have one seed and so one duty
cycle, as `edge-agent simulate` makes a fleet; each turn has another. The bare loop draws, for each
history, a standard normal number a tag and cycle, and one more a cycle where the wear itself is random,
and does nothing else. Limits: at least 0.3 of the bare loop, and 1,000,000 component-rows/s over two cores.
"""

import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle, islice

import numpy as np

from bench.arguments import takes_none
from edge_agent.simulation import ReactorSimulator
from edge_agent.simulation.components import model, model_types
from shared.reactor_config import DECAY_FIELDS, parse_fleet
from shared.schemas import ComponentId

PROCESSES = 2
COMPONENTS = 40  # a site's; types and decay laws in turn
CYCLES = 10_000
DECAY_SCALE = 0.025  # lives of about 250 cycles become 10,000
RANDOM_LAWS = ("wiener", "gamma", "step")
TURNS = 15
RATIO_MIN = 0.3
ROWS_PER_S_MIN = 1_000_000
Job = tuple[list[ComponentId], int]  # components and their seed


def main() -> None:
    """Print rows per second of both, and the ratio; the last line is JSON."""
    ours_s = bare_s = 0.0
    with ProcessPoolExecutor(PROCESSES) as pool:
        _timed(pool, _simulate, 0)  # modules and tables
        for turn in range(1, TURNS + 1):
            bare_s += _timed(pool, _draw, turn)
            ours_s += _timed(pool, _simulate, turn)
    rows = TURNS * COMPONENTS * CYCLES
    figures = {"rows_per_s": round(rows / ours_s), "bare_rows_per_s": round(rows / bare_s)}
    ratio = round(bare_s / ours_s, 3)
    held = ratio >= RATIO_MIN and figures["rows_per_s"] >= ROWS_PER_S_MIN
    print(f"simulation {figures['rows_per_s']:>10,} rows/s (limit: at least {ROWS_PER_S_MIN:,})")
    print(f"bare noise {figures['bare_rows_per_s']:>10,} rows/s")
    print(f"ratio      {ratio:>10} (limit: at least {RATIO_MIN})")
    print(json.dumps({"benchmark": "simulation", **figures, "ratio": ratio, "held": held}))


def _fleet() -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    kinds = zip(cycle(model_types()), cycle(DECAY_FIELDS), strict=False)
    parts = {
        f"{kind}_{number}": {"type": kind, "decay_type": law}
        for number, (kind, law) in enumerate(islice(kinds, COMPONENTS))
    }
    return {"TX01": {"R1": parts}}


FLEET = parse_fleet(_fleet(), "benchmark").components()


def _simulate(job: Job) -> None:
    places, seed = job
    for place in places:
        unit = ReactorSimulator(FLEET[place], **place._asdict(), random_seed=seed, decay_scale=DECAY_SCALE)
        unit.simulate(CYCLES)


def _draw(job: Job) -> None:
    places, seed = job
    for number, place in enumerate(places):
        config = FLEET[place]
        numbers = len(model(config.type).spans) + (config.decay_type in RANDOM_LAWS)
        np.random.Generator(np.random.PCG64([seed, number])).standard_normal((CYCLES, numbers))


def _timed(pool: ProcessPoolExecutor, work: Callable[[Job], None], seed: int) -> float:
    """Seconds until each process has done its share of the components."""
    places = list(FLEET)
    start = time.perf_counter()
    list(pool.map(work, [(places[number::PROCESSES], seed) for number in range(PROCESSES)]))
    return time.perf_counter() - start


if __name__ == "__main__":
    takes_none(__doc__)
    main()
