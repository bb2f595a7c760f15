"""The stages of the agent one by one, on the same plant: CPU seconds per million points of each."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.edge_site import SITE, TAGS, release
from edge_agent.line import Line, score_together
from edge_agent.outbox import OutboxStore
from edge_agent.scoring import Scorer
from edge_agent.sources import source_for
from shared import collector
from shared.reactor_config import load_fleet

WARM_POLLS = 11  # a window is scored from 10 cycles on
POLLS = 8

CpuSeconds = dict[str, float]


async def stages(config: Path, period_s: float) -> CpuSeconds:
    """Each stage's CPU seconds per million points, measured apart in this process."""
    fleet = load_fleet(config)
    components = fleet.components(SITE)
    scorer = Scorer.load(*release())
    lines = {key: Line(key, component) for key, component in components.items()}
    for line in lines.values():
        line.use(scorer)
    spent: CpuSeconds = {}
    collector.settle()  # as the agent does
    with TemporaryDirectory() as folder, OutboxStore(Path(folder) / "outbox.db") as store:
        async with source_for(SITE, fleet.sites[SITE].plant, components) as source:
            for poll in range(WARM_POLLS + POLLS):
                if poll == WARM_POLLS:
                    spent.clear()
                due_s = time.monotonic() + period_s
                with _counted(spent, "polling and quality"):
                    readings = await source.read()
                with _counted(spent, "window, score and alerts"):
                    fresh = [(lines[reading.component_id], reading) for reading in readings]
                    answers = score_together(fresh)  # as the poller does
                    taken = [
                        line.conclude(reading, answer)
                        for (line, reading), answer in zip(fresh, answers, strict=True)
                    ]
                with _counted(spent, "encoding"):
                    rows = [record.outgoing() for records, _ in taken for record in records]
                with _counted(spent, "commit"):
                    store.commit(rows)
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
    return {stage: 1e6 * cpu_s / (POLLS * len(lines) * TAGS) for stage, cpu_s in spent.items()}


@contextmanager
def _counted(spent: CpuSeconds, stage: str) -> Iterator[None]:
    began_s = time.process_time()
    yield
    spent[stage] = spent.get(stage, 0.0) + time.process_time() - began_s
