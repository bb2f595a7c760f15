"""What every source owes the agent, whatever its protocol: one suite over all of them."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pytest

from edge_agent.simulation import ReactorSimulator
from edge_agent.simulation.plant import serve_rows, simulated
from edge_agent.simulation.served import ServesPlant, plant_server
from edge_agent.simulation.sparkplug_plant import SparkplugPlant
from edge_agent.sources import MockModbusAdapter, Source, source_for
from edge_agent.sources.sparkplug import SparkplugSource
from shared.listen import free_port
from shared.modbus_registers import as_read
from shared.plant_config import Plant
from shared.reactor_config import Component, parse_fleet
from shared.schemas import ComponentId, Quality, Telemetry, utc_now
from tests.support.mosquitto import mosquitto

PUMP = ComponentId("TX01", "R1", "coolant_pump")
MESSAGE_DEADLINE_S = 60.0
SOURCE_TIME_STEP = timedelta(milliseconds=1)  # Sparkplug's; the others are finer


def pump(**more) -> Component:
    return parse_fleet({"TX01": {"R1": {"coolant_pump": more}}}, "test").components()[PUMP]


@dataclass
class Harness:
    """A source, and the way to let its plant show given numbers before the next poll."""

    source: Source
    component: Component
    show: Callable[[int, dict[str, float]], None]
    as_read: Callable[[str, float], float]


@asynccontextmanager
async def wired(protocol: Literal["modbus_tcp", "opc_ua"]) -> AsyncIterator[Harness]:
    """A plant of that protocol on a real socket."""
    component = pump()
    plant = Plant(protocol=protocol, port=free_port(), poll_period_s=1, timeout_s=0.5)
    async with (
        plant_server("TX01", plant, {PUMP: component}) as server,
        source_for("TX01", plant, {PUMP: component}) as source,
    ):
        yield Harness(
            source,
            component,
            lambda cycle, values: server.show(PUMP, cycle, values),
            lambda tag, value: as_read(component.tags[tag].register_, value),
        )


def modbus() -> AbstractAsyncContextManager[Harness]:
    return wired("modbus_tcp")


def opcua() -> AbstractAsyncContextManager[Harness]:
    return wired("opc_ua")


@asynccontextmanager
async def sparkplug_b() -> AsyncIterator[Harness]:
    component, port = pump(), free_port()
    plant = Plant(protocol="sparkplug_b", port=port)
    with TemporaryDirectory() as folder, mosquitto(Path(folder), port):
        async with (
            SparkplugSource("TX01", plant, {PUMP: component}) as source,
            SparkplugPlant("TX01", plant, {PUMP: component}) as server,
        ):

            def show(cycle: int, values: dict[str, float]) -> None:
                """Until it has come: nobody keeps what is published before the source has subscribed."""
                deadline = time.monotonic() + MESSAGE_DEADLINE_S
                while source._devices[PUMP].cycle != cycle:
                    assert time.monotonic() < deadline
                    server.show(PUMP, cycle, values)
                    time.sleep(0.02)

            yield Harness(
                source, component, show, lambda tag, value: as_read(component.tags[tag].register_, value)
            )


class _Told:
    """Stands where a simulator stands and shows what it is told."""

    def __init__(self) -> None:
        self.config, self.component_id = pump(), PUMP
        self.row: dict[str, float] = {}

    def simulate_cycle(self) -> dict[str, float]:
        return self.row


@asynccontextmanager
async def mock() -> AsyncIterator[Harness]:
    told = _Told()

    def show(cycle: int, values: dict[str, float]) -> None:
        told.row = {"cycle": cycle, **values}

    async with MockModbusAdapter(told) as source:  # type: ignore[arg-type]
        yield Harness(source, told.config, show, lambda _tag, value: value)


SOURCES = pytest.mark.parametrize("source", [modbus, opcua, sparkplug_b, mock])


def numbers() -> dict[str, float]:
    simulator = ReactorSimulator(pump(), **PUMP._asdict(), random_seed=5)
    row = simulator.simulate_cycle()
    return {tag: row[tag] for tag in simulator.config.tags}


@SOURCES
async def test_poll_gives_each_component_once_with_every_tag(source):
    """One Telemetry per component, each tag with the number that its plant showed for that cycle."""
    async with source() as harness:
        values, before = numbers(), utc_now()
        harness.show(7, values)
        (reading,) = await harness.source.read()
        assert reading.component_id == PUMP
        assert reading.cycle == 7
        assert reading.metrics == {tag: harness.as_read(tag, value) for tag, value in values.items()}
        assert reading.quality == {}
        assert before - SOURCE_TIME_STEP <= reading.timestamp <= utc_now()


@SOURCES
@pytest.mark.parametrize(
    ("value", "quality"),
    [
        (math.nan, Quality.NOT_A_NUMBER),
        (math.inf, Quality.NOT_A_NUMBER),
        (-0.5, Quality.OUT_OF_RANGE),
        (1000.5, Quality.OUT_OF_RANGE),
    ],
)
async def test_impossible_value_has_a_reason_and_no_number(source, value, quality):
    """NaN, infinity and values outside the tag's range are marked; the neighbours stay good."""
    async with source() as harness:
        values = numbers()
        harness.show(1, values | {"flow_rate": value})
        (reading,) = await harness.source.read()
        assert reading.quality == {"flow_rate": quality}
        assert reading.metrics.keys() == values.keys() - {"flow_rate"}


@SOURCES
async def test_ends_of_the_range_are_good(source):
    """The range is inclusive."""
    async with source() as harness:
        harness.show(1, numbers() | {"flow_rate": 0.0, "motor_current": 500.0})
        (reading,) = await harness.source.read()
        assert reading.metrics["flow_rate"] == 0.0
        assert reading.metrics["motor_current"] == 500.0


@SOURCES
async def test_next_poll_shows_the_next_cycle(source):
    """Nothing of the poll before stays."""
    async with source() as harness:
        for cycle in range(3):
            harness.show(cycle, numbers() | {"flow_rate": 100.0 + cycle})
            (reading,) = await harness.source.read()
            assert (reading.cycle, reading.metrics["flow_rate"]) == (cycle, 100.0 + cycle)


PROTOCOLS = pytest.mark.parametrize("protocol", ["modbus_tcp", "opc_ua", "sparkplug_b"])
SEEN_WITHIN_S = 60.0  # a client that lost its plant waits some seconds before it tries again
FLEET = parse_fleet({"TX01": {"R1": {"coolant_pump": {}, "heat_exchanger": {}}}}, "test").components()


@asynccontextmanager
async def reached(protocol: str) -> AsyncIterator[tuple[Source, Callable[[], ServesPlant]]]:
    """A source whose plant is away, and plants that may come to its address one after the other."""
    port = free_port()
    plant = Plant(protocol=protocol, port=port, poll_period_s=0.5, timeout_s=0.5)
    async with AsyncExitStack() as stack:
        if protocol == "sparkplug_b":
            folder = stack.enter_context(TemporaryDirectory())
            stack.enter_context(mosquitto(Path(folder), port))
        source = await stack.enter_async_context(source_for("TX01", plant, FLEET))
        yield source, lambda: plant_server("TX01", plant, FLEET)


def every_tag_told(readings: list[Telemetry]) -> bool:
    """Each component once, each tag with a number or a reason."""
    told = {r.component_id: sorted([*r.metrics, *r.quality]) for r in readings}
    return len(readings) == len(told) and told == {i: sorted(c.tags) for i, c in FLEET.items()}


async def until(source: Source, holds: Callable[[list[Telemetry]], bool]) -> None:
    """Poll until it holds; each poll on the way tells of every tag."""
    async with asyncio.timeout(SEEN_WITHIN_S):
        while not holds(readings := await source.read()):
            assert every_tag_told(readings)
            await asyncio.sleep(0.02)
    assert every_tag_told(readings)


def all_good(readings: list[Telemetry]) -> bool:
    return not any(r.quality for r in readings)


def all_bad(readings: list[Telemetry]) -> bool:
    return not any(r.metrics for r in readings)


class Book:
    """A ledger in memory."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, int], dict] = {}

    def append(self, lines: list[dict]) -> None:
        self.entries.update({(line["key"], line["cycle"]): line for line in lines})


@PROTOCOLS
async def test_ledger_holds_what_the_agent_reads(protocol):
    """Every reading of a ticking plant equals, float for float, what the plant put on its ledger before."""
    book, seen = Book(), set()

    def as_on_the_ledger(readings: list[Telemetry]) -> bool:
        for reading in readings:
            if reading.metrics:
                assert reading.metrics == book.entries[reading.key, reading.cycle]["values"]
                seen.add((reading.key, reading.cycle))
        return len(seen) > 20

    async with reached(protocol) as (source, new_plant), new_plant() as server:
        serving = asyncio.create_task(serve_rows(server, simulated(FLEET, 3), book, 0.05))
        await until(source, as_on_the_ledger)
        serving.cancel()
    assert book.entries[PUMP.key, 0]["labels"] == {"performance": 1.0, "true_RUL": 241, "fault": None}


@PROTOCOLS
async def test_plant_that_is_away_dies_and_comes_back_is_told_at_each_poll(protocol):
    """No plant is no error; a dead one leaves no number; a new one is read without a restart."""
    async with reached(protocol) as (source, new_plant):
        assert all_bad(await source.read())
        for _ in range(2):
            async with new_plant() as server:
                serving = asyncio.create_task(serve_rows(server, simulated(FLEET, 3), None, 0.1))
                await until(source, all_good)
                serving.cancel()
            await until(source, all_bad)
