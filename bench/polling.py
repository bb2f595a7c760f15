"""CPU that the Modbus source takes for a point, against a bare pymodbus loop that discards what it reads.

Both: 10 connections x 10 units x 1,000 float32, polled on the second from one pymodbus server in a process
of its own, in turns, so that a noisy machine slows both. Ours ends with a judged `Telemetry` a unit; the
bare loop asks for 125 registers at a time and looks at none of them. Limits: at least 0.6 of the bare
loop's points per CPU second, 100,000 points/s, no cycle missed.
"""

import asyncio
import json
import math
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event

from pymodbus.client import AsyncModbusTcpClient

from bench.arguments import takes_none
from edge_agent.simulation.modbus_server import PlantServer
from edge_agent.sources import ModbusSource
from edge_agent.sources.plan import plan
from shared.listen import free_port
from shared.plant_config import Plant
from shared.reactor_config import MODBUS_READ_REGISTERS_MAX, Component
from shared.schemas import ComponentId

CONNECTIONS, UNITS, TAGS = 10, 10, 1000
PERIOD_S = 1.0
CYCLES_PER_TURN = 5
TURNS = 4
RATIO_MIN = 0.6
POINTS_PER_S_MIN = CONNECTIONS * UNITS * TAGS / PERIOD_S
HOST = "127.0.0.1"
REGISTERS = 2 * TAGS
START_S = 60.0  # for the server's process, on a busy machine

Reader = Callable[[], Awaitable[int]]  # one poll of one connection; the points it brought


@dataclass
class Tally:
    """What the turns of one reader took."""

    points: int = 0
    cycles: int = 0
    cycles_missed: int = 0
    cpu_s: float = 0.0
    slowest_s: float = 0.0

    @property
    def points_per_s(self) -> float:
        return self.points / ((self.cycles + self.cycles_missed) * PERIOD_S)

    @property
    def cpu_s_per_million_points(self) -> float:
        return self.cpu_s / max(self.points, 1) * 1e6


def main() -> None:
    """Print both, the ratio and the limits; the last line is JSON."""
    parts = _components()
    with _serving() as port:
        ours, bare = asyncio.run(_measure(port, parts))
    requests = CONNECTIONS * sum(len(plan(component)) for component in parts.values()) / PERIOD_S
    ratio = round(bare.cpu_s_per_million_points / ours.cpu_s_per_million_points, 3)
    for name, tally in (("source", ours), ("bare loop", bare)):
        print(
            f"{name:<9} {tally.points_per_s:>9,.0f} points/s, {tally.cpu_s_per_million_points:.2f} CPU s per "
            f"million points, {tally.cycles_missed} of {tally.cycles} cycles missed "
            f"(slowest {tally.slowest_s:.2f} s)"
        )
    print(f"ratio     {ratio:>9} (limit: at least {RATIO_MIN})")
    held = ratio >= RATIO_MIN and ours.points_per_s >= POINTS_PER_S_MIN and not ours.cycles_missed
    figures = {
        "points_per_s": round(ours.points_per_s),
        "requests_per_s": round(requests),
        "ratio": ratio,
        "cycles_missed": ours.cycles_missed,
        "cpu_s_per_million_points": round(ours.cpu_s_per_million_points, 2),
        "bare_cpu_s_per_million_points": round(bare.cpu_s_per_million_points, 2),
    }
    print(json.dumps({"benchmark": "polling", **figures, "held": held}))


def _components() -> dict[ComponentId, Component]:
    tags = {f"t{i}": {"unit": "1", "range": [0, 1e9], "register": {"address": 2 * i}} for i in range(TAGS)}
    return {
        ComponentId("BENCH", "R1", f"unit_{unit}"): Component.model_validate(
            {"type": "bench", "unit": unit, "tags": tags}
        )
        for unit in range(1, UNITS + 1)
    }


@contextmanager
def _serving() -> Iterator[int]:
    """The server in a process of its own; gives its port."""
    context, port = multiprocessing.get_context("spawn"), free_port()
    ready = context.Event()
    process = context.Process(target=_serve, args=(port, ready), daemon=True)
    process.start()
    try:
        if not ready.wait(START_S):
            raise TimeoutError(f"the server did not listen within {START_S:.0f} s")
        yield port
    finally:
        process.kill()
        process.join()


def _serve(port: int, ready: Event) -> None:
    asyncio.run(_serve_ticks(port, ready))


async def _serve_ticks(port: int, ready: Event) -> None:
    """New numbers in every register half a period after each poll."""
    async with PlantServer(HOST, port, _components()) as server:
        tick = 0
        while True:
            for component_id, component in server.components.items():
                server.show(
                    component_id, tick, {tag: float(tick + i) for i, tag in enumerate(component.tags)}
                )
            ready.set()
            tick += 1
            await asyncio.sleep(_next_poll_s() + PERIOD_S / 2 - time.time())


async def _measure(port: int, parts: dict[ComponentId, Component]) -> tuple[Tally, Tally]:
    async with AsyncExitStack() as stack:
        sources = [
            _source_reader(await stack.enter_async_context(_source(port, parts))) for _ in range(CONNECTIONS)
        ]
        clients = [
            _bare_reader(await stack.enter_async_context(AsyncModbusTcpClient(HOST, port=port)))
            for _ in range(CONNECTIONS)
        ]
        ours, bare = Tally(), Tally()
        await _turn(sources, Tally())  # connects and warms up
        await _turn(clients, Tally())
        for _ in range(TURNS):
            await _turn(sources, ours)
            await _turn(clients, bare)
    return ours, bare


def _source(port: int, parts: dict[ComponentId, Component]) -> ModbusSource:
    return ModbusSource("BENCH", Plant(port=port, poll_period_s=PERIOD_S, timeout_s=PERIOD_S), parts)


def _source_reader(source: ModbusSource) -> Reader:
    async def poll() -> int:
        return sum(len(reading.metrics) for reading in await source.read())

    return poll


def _bare_reader(client: AsyncModbusTcpClient) -> Reader:
    async def poll() -> int:
        words = 0
        for unit in range(1, UNITS + 1):
            for address in range(0, REGISTERS, MODBUS_READ_REGISTERS_MAX):
                count = min(MODBUS_READ_REGISTERS_MAX, REGISTERS - address)
                reply = await client.read_holding_registers(address, count=count, device_id=unit)
                words += len(reply.registers)
        return words // 2

    return poll


async def _turn(readers: list[Reader], tally: Tally) -> None:
    """Cycles of all connections at once, each begun on the second; one that runs over costs others."""
    due_s = _next_poll_s()
    for _ in range(CYCLES_PER_TURN):
        await asyncio.sleep(due_s - time.time())
        began_s = time.process_time()
        tally.points += sum(await asyncio.gather(*(poll() for poll in readers)))
        tally.cpu_s += time.process_time() - began_s
        tally.slowest_s = max(tally.slowest_s, time.time() - due_s)
        missed = max(0, int((time.time() - due_s) / PERIOD_S))
        tally.cycles_missed += missed
        tally.cycles += 1
        due_s += (missed + 1) * PERIOD_S


def _next_poll_s() -> float:
    return math.ceil(time.time() / PERIOD_S) * PERIOD_S


if __name__ == "__main__":
    takes_none(__doc__)
    main()
