"""An OPC UA plant that is killed, started again and paused at random while the agent polls it."""

import asyncio
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from edge_agent.sources.opcua import OpcUaSource
from edge_agent.sources.opcua_connection import RECONNECT_S_MAX
from shared.listen import free_port
from shared.plant_config import Plant
from shared.reactor_config import load_fleet
from shared.schemas import Telemetry

PERIOD_S = 0.2  # of the polls as configured; they come without a rest
TICKS_PER_S = 40
GOOD_POLLS = int(os.environ.get("GOOD_POLLS", "500"))  # with a number; the others come on top
DEEDS_MIN = 2  # of each kind, however fast the polls go
PAUSE_S_MAX = 0.6
SOAK_S_MAX = 200.0  # about 50 s on two idle cores for 2,000
TICKING_PLANT = f"""
import asyncio, os, struct, sys, time
from edge_agent.simulation.opcua_server import OpcUaPlantServer
from shared.reactor_config import load_fleet
from pathlib import Path
async def main(config, port, shown, epoch):
    components = load_fleet(Path(config)).components()
    async with OpcUaPlantServer("127.0.0.1", int(port), components) as server:
        file, last = os.open(shown, os.O_WRONLY), None
        while True:
            cycle = int((time.time() - float(epoch)) * {TICKS_PER_S})
            if cycle != last:
                if last is not None:
                    os.pwrite(file, struct.pack("<q", last), 0)  # has been served since the last tick
                for k, (component_id, component) in enumerate(components.items()):
                    values = {{t: 1e6 * k + 1e4 * i + cycle % 10_000 for i, t in enumerate(component.tags)}}
                    server.show(component_id, cycle, values)
                last = cycle
            await asyncio.sleep(0.5 / {TICKS_PER_S})
asyncio.run(main(*sys.argv[1:]))
"""


class Chaos:
    """A ticking plant in a process of its own that is paused, killed and started again at random."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.chance, self.port = chance, free_port()
        self.config, self.shown = folder / "fleet.yaml", folder / "shown"
        names = ", ".join(
            f"t{i}: {{unit: '1', register: {{address: {2 + 4 * i}, type: float64}}}}" for i in range(8)
        )
        self.config.write_text(
            f"TX01: {{R1: {{coolant_pump: {{tags: {{{names}}}}}, heat_exchanger: {{tags: {{{names}}}}}}}}}\n"
        )
        self.shown.write_bytes(struct.pack("<q", 0))
        self.epoch, self.log = time.time(), (folder / "plant.log").open("wb")
        self.stopped, self.wakes, self.deeds = False, 0, Counter()
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        arguments = [str(self.config), str(self.port), str(self.shown), str(self.epoch)]
        return subprocess.Popen([sys.executable, "-c", TICKING_PLANT, *arguments], stderr=self.log)

    def served(self) -> int:
        """A cycle that the plant has certainly served: nothing older is new."""
        return struct.unpack("<q", self.shown.read_bytes())[0]

    def least(self) -> int:
        """How often the rarer of its deeds was done."""
        return min(self.deeds["killed"], self.deeds["paused"])

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self.chance.uniform(0.3, 1.5))
            if self.deeds["paused"] and (self.chance.random() < 0.2 or not self.deeds["killed"]):
                self.deeds["killed"] += 1
                self.process.kill()
                self.process.wait()
                await asyncio.sleep(self.chance.uniform(0.0, 0.5))
                before, self.process = self.served(), self.start()
                while self.served() == before:  # it builds its address space
                    await asyncio.sleep(0.05)
                await asyncio.sleep(RECONNECT_S_MAX + 1.0)  # the agent connects again
            else:
                first = not self.deeds["paused"]  # outlasts every poll's timeout
                os.kill(self.process.pid, signal.SIGSTOP)
                os.waitpid(self.process.pid, os.WUNTRACED)  # noqa: ASYNC222 - it stops at once
                self.stopped = True
                await asyncio.sleep(PAUSE_S_MAX if first else self.chance.uniform(0.02, PAUSE_S_MAX))
                self.stopped, self.wakes = False, self.wakes + 1
                os.kill(self.process.pid, signal.SIGCONT)
                self.deeds["paused"] += 1

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


def wrong(readings: Iterable[Telemetry], least: int, dead: bool) -> Counter[str]:
    """What no poll may have: a number of another tag or cycle, an old or a dead one, a tag left out."""
    found: Counter[str] = Counter()
    for k, reading in enumerate(readings):
        found["unmarked"] += len(
            {f"t{i}" for i in range(8)} - reading.metrics.keys() - reading.quality.keys()
        )
        for i in range(8):
            value = reading.metrics.get(f"t{i}")
            if value is not None:
                found["good"] += 1
                found["misattributed"] += value != 1e6 * k + 1e4 * i + (reading.cycle or 0) % 10_000
                found["stale as good"] += dead or reading.cycle is None or reading.cycle < least
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_polls_of_a_plant_that_is_killed_and_paused_at_random(tmp_path):
    """Server tick i gives f(tag, i): misattributed 0, stale as good 0, every gap marked."""
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")  # noqa: T201 - `SEED=... make test T=...` replays it
    chaos = Chaos(tmp_path, random.Random(seed))
    components = load_fleet(chaos.config).components()
    total: Counter[str] = Counter()
    try:
        plant = Plant(protocol="opc_ua", port=chaos.port, poll_period_s=PERIOD_S, timeout_s=PERIOD_S)
        async with OpcUaSource("TX01", plant, components) as source:
            async with asyncio.timeout(60):
                while not any(r.metrics for r in await source.read()):
                    await asyncio.sleep(0.05)
            misfortune, ends = asyncio.create_task(chaos.run()), time.monotonic() + SOAK_S_MAX
            while time.monotonic() < ends and not misfortune.done():
                if total["good polls"] >= GOOD_POLLS and chaos.least() >= DEEDS_MIN:
                    break
                least, stopped, wakes = chaos.served(), chaos.stopped, chaos.wakes
                readings = await source.read()
                total += wrong(readings, least, stopped and wakes == chaos.wakes)
                total["polls"] += 1
                total["good polls"] += any(r.metrics for r in readings)
                total.update(str(q) for r in readings for q in set(r.quality.values()))
                await asyncio.sleep(0.002)
            misfortune.cancel()
    finally:
        chaos.close()
    print(dict(total), dict(chaos.deeds))  # noqa: T201 - the counts are the result
    assert (total["misattributed"], total["stale as good"], total["unmarked"]) == (0, 0, 0)
    assert total["good polls"] >= GOOD_POLLS
    assert chaos.least() >= DEEDS_MIN
    assert total["timeout"] > 0
