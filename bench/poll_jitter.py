"""How late polls begin while Kafka is away, against how late they begin while it is there.

One real agent polls a real plant through a tap in this process, which notes when each request comes:
lateness is that moment minus the poll's due time, seen from outside the agent. The evaluation broker is
started and killed in turns, so that a noisy machine disturbs both alike. Limits: p99 with Kafka away at most
1.5 times, or 2 ms more than, p99 with Kafka there; and of the polls at most 1 in 100 more left out.
"""

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.arguments import takes_none
from shared.listen import free_port

PERIOD_S = 0.05
TURNS = 4  # of each
POLLS_PER_TURN = 160
AWAY_SETTLE_S = 1.0  # after the broker was killed
START_S = 60.0  # for a process, on a busy machine
LOOK_S = 0.2
P99_RATIO_MAX, P99_MORE_MS_MAX = 1.5, 2.0
MISSED_SHARE_MORE_MAX = 0.01
HOST = "127.0.0.1"
BIN = Path(sys.executable).parent


@dataclass
class Tally:
    """What the turns of one kind saw."""

    late_ms: list[float] = field(default_factory=list)
    missed: int = 0

    def percentile_ms(self, percent: int) -> float:
        return statistics.quantiles(self.late_ms, n=100)[percent - 1]

    @property
    def missed_share(self) -> float:
        return self.missed / (self.missed + len(self.late_ms))


class Tap:
    """Passes bytes between agent and plant, and notes when the agent asked."""

    def __init__(self, plant_port: int) -> None:
        self.plant_port, self.port = plant_port, free_port()
        self.asked: list[float] = []

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._splice, HOST, self.port)

    async def _splice(self, agent: asyncio.StreamReader, to_agent: asyncio.StreamWriter) -> None:
        plant, to_plant = await asyncio.open_connection(HOST, self.plant_port)
        back = asyncio.create_task(_pass_on(plant, to_agent))
        with suppress(asyncio.CancelledError):  # the end of the run
            while data := await agent.read(4096):
                self.asked.append(time.time())
                to_plant.write(data)
            to_plant.close()
            await back


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
    writer.close()


def main() -> None:
    """Print both, the ratio and the limits; the last line is JSON."""
    with tempfile.TemporaryDirectory() as folder:
        away, there = asyncio.run(_measure(Path(folder)))
    for name, tally in (("Kafka there", there), ("Kafka away", away)):
        p50_ms, p99_ms, due = (
            tally.percentile_ms(50),
            tally.percentile_ms(99),
            len(tally.late_ms) + tally.missed,
        )
        print(f"{name:<12} p50 {p50_ms:.2f} ms, p99 {p99_ms:.2f} ms late; {tally.missed} of {due} left out")
    away_ms, there_ms = away.percentile_ms(99), there.percentile_ms(99)
    ratio = away_ms / there_ms
    print(f"p99 ratio    {ratio:.2f} (limit: at most {P99_RATIO_MAX}, or {P99_MORE_MS_MAX:g} ms more)")
    held = (ratio <= P99_RATIO_MAX or away_ms - there_ms <= P99_MORE_MS_MAX) and (
        away.missed_share - there.missed_share <= MISSED_SHARE_MORE_MAX
    )
    figures = {
        "p50_ms_away": round(away.percentile_ms(50), 3),
        "p99_ms_away": round(away_ms, 3),
        "p50_ms_there": round(there.percentile_ms(50), 3),
        "p99_ms_there": round(there_ms, 3),
        "ratio": round(ratio, 3),
        "polls": len(away.late_ms) + len(there.late_ms),
        "missed_away": away.missed,
        "missed_there": there.missed,
    }
    print(json.dumps({"benchmark": "poll_jitter", **figures, "held": held}))


async def _measure(folder: Path) -> tuple[Tally, Tally]:
    kafka, health = f"{HOST}:{free_port()}", f"{HOST}:{free_port()}"
    tap = Tap(free_port())
    away, there = Tally(), Tally()
    async with _site(folder, tap, kafka, health):
        await _until(lambda: bool(tap.asked), "the first poll")
        for _ in range(TURNS):
            with _program("control-plane", "broker", "--listen", kafka):
                await _until_kafka_takes(health)
                await _turn(tap, there)
            await asyncio.sleep(AWAY_SETTLE_S)
            await _turn(tap, away)
    return away, there


@asynccontextmanager
async def _site(folder: Path, tap: Tap, kafka: str, health: str) -> AsyncIterator[None]:
    """The plant, the tap before it, and the agent that polls through the tap."""
    for name, port in (("plant", tap.plant_port), ("agent", tap.port)):
        section = f"{{port: {port}, poll_period_s: {PERIOD_S}, timeout_s: {PERIOD_S}}}"
        (folder / f"{name}.yaml").write_text(f"BENCH: {{plant: {section}, R1: {{coolant_pump: {{}}}}}}\n")
    (folder / "trust").mkdir()
    nowhere = f"{HOST}:1"
    with _program("edge-agent", "plant", "--config", f"{folder}/plant.yaml", "--site", "BENCH"):
        await _until(lambda: _listens(tap.plant_port), "the plant")
        async with await tap.serve():
            with _program(
                "edge-agent", "run", "--config", f"{folder}/agent.yaml", "--site", "BENCH",
                "--data-dir", f"{folder}/data", "--trust-dir", f"{folder}/trust", "--kafka", kafka,
                "--fleet", nowhere, "--repository", f"http://{nowhere}", "--health", health,
            ):  # fmt: skip
                yield


@contextmanager
def _program(*command: str) -> Iterator[None]:
    """A program of this environment, killed at the end."""
    with Path(os.devnull).open("wb") as nothing:
        process = subprocess.Popen([str(BIN / command[0]), *command[1:]], stdout=nothing, stderr=nothing)
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def _turn(tap: Tap, tally: Tally) -> None:
    """As many polls as a turn has, from the next one on."""
    first = len(tap.asked) + 1
    await _until(lambda: len(tap.asked) >= first + POLLS_PER_TURN, "a turn")
    asked = tap.asked[first : first + POLLS_PER_TURN]
    tally.late_ms += [1000 * (moment % PERIOD_S) for moment in asked]
    slots = [int(moment / PERIOD_S) for moment in asked]
    tally.missed += slots[-1] - slots[0] + 1 - len(set(slots))


async def _until_kafka_takes(health: str) -> None:
    before = await _forwarded(health)

    async def taken() -> bool:
        return await _forwarded(health) > before

    deadline = time.monotonic() + START_S
    while not await taken():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Kafka took no row within {START_S:.0f} s")
        await asyncio.sleep(LOOK_S)


async def _forwarded(health: str) -> float:
    def fetch() -> str:
        with urllib.request.urlopen(f"http://{health}/metrics", timeout=START_S) as answer:
            return str(answer.read().decode())

    return float((await asyncio.to_thread(fetch)).split("\nedge_forwarded_rows_total ")[1].split()[0])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


async def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {START_S:.0f} s")
        await asyncio.sleep(LOOK_S)


if __name__ == "__main__":
    takes_none(__doc__)
    main()
