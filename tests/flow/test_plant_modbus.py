"""A plant on real sockets and the agent's source reading it: quality, bad days, read only, mbpoll."""

import asyncio
import re
import shutil
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from edge_agent.simulation.modbus_server import PlantServer
from edge_agent.simulation.plant import serve_rows, simulated
from edge_agent.sources import ModbusSource
from shared.errors import ConfigError, Retryable
from shared.listen import free_port
from shared.plant_config import Plant
from shared.reactor_config import Component, parse_fleet
from shared.schemas import ComponentId, Quality, Telemetry

TIMEOUT_S = 0.2
PUMP = ComponentId("TX01", "R1", "coolant_pump")
EXCHANGER = ComponentId("TX01", "R1", "heat_exchanger")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def fleet(**reactor) -> dict[ComponentId, Component]:
    parts = reactor or {"coolant_pump": {}, "heat_exchanger": {}}
    return parse_fleet({"TX01": {"R1": parts}}, "test").components()


def registers(**tags) -> dict:
    """A component section with tags at given registers."""
    return {"tags": {name: {"unit": "1", "register": register} for name, register in tags.items()}}


def source_at(port: int, components: dict[ComponentId, Component]) -> ModbusSource:
    return ModbusSource("TX01", Plant(port=port, poll_period_s=1, timeout_s=TIMEOUT_S), components)


@asynccontextmanager
async def plant(components: dict[ComponentId, Component]) -> AsyncIterator[PlantServer]:
    async with PlantServer("127.0.0.1", free_port(), components) as server:
        for component_id, component in components.items():
            server.show(component_id, 1, {tag: 10.0 + i for i, tag in enumerate(component.tags)})
        yield server


@asynccontextmanager
async def tcp_server(handler: Handler) -> AsyncIterator[int]:
    """Serves `handler` on a free port; at the end waits for its connections, which the client has closed."""
    connections: list[asyncio.Task[None] | None] = []

    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await handler(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(until_closed, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.wait_for(asyncio.gather(*filter(None, connections)), 5)


async def request(reader: asyncio.StreamReader) -> bytes:
    """One whole Modbus TCP frame."""
    header = await reader.readexactly(6)
    return header + await reader.readexactly(int.from_bytes(header[4:6], "big"))


def answer(frame: bytes, words: list[int], transaction: bytes | None = None) -> bytes:
    body = frame[6:8] + bytes([2 * len(words)]) + struct.pack(f">{len(words)}H", *words)
    return (transaction or frame[:2]) + b"\0\0" + struct.pack(">H", len(body)) + body


async def test_every_type_order_table_and_scale_is_read_back():
    """One tag of each type and order, in both tables, with scale and offset, from a real server."""
    tags, address = {}, {"holding": 2, "input": 0}
    for kind, size in {"int16": 1, "uint16": 1, "int32": 2, "uint32": 2, "float32": 2, "float64": 4}.items():
        for index, order in enumerate(("ABCD", "CDAB", "BADC", "DCBA")):
            table = "input" if index % 2 else "holding"
            register = {"table": table, "address": address[table], "type": kind, "order": order}
            tags[f"{kind}_{order}"] = register | {"scale": 0.5, "offset": 3.0}
            address[table] += size
    components = fleet(coolant_pump=registers(**tags))
    async with plant(components) as server, source_at(server.port, components) as source:
        (reading,) = await source.read()
        assert reading.metrics == {tag: 10.0 + i for i, tag in enumerate(tags)}


async def test_address_without_a_tag_makes_only_its_own_tag_bad():
    """Exception 02 is bisected: the device lacks one register of a block, its neighbours stay good."""
    served = {f"t{i}": {"address": 2 * i + 2} for i in range(9) if i != 4}
    asked = {f"t{i}": {"address": 2 * i + 2} for i in range(9)}
    async with (
        plant(fleet(coolant_pump=registers(**served))) as server,
        source_at(server.port, fleet(coolant_pump=registers(**asked))) as source,
    ):
        (reading,) = await source.read()
    assert reading.quality == {"t4": Quality.DEVICE_EXCEPTION}
    assert reading.metrics == {tag: 10.0 + i for i, tag in enumerate(served)}
    assert reading.cycle == 1


@pytest.mark.parametrize("ticks", [False, True])
async def test_halves_of_a_refused_request_give_no_reading_of_two_cycles(ticks):
    """After exception 02 the parts come at two moments: where the counter went on meanwhile, all is STALE."""
    tags = {f"t{i}": {"address": 2 + 2 * i} for i in range(3)}
    components = fleet(coolant_pump=registers(**tags))
    cycle = 5

    async def device(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal cycle
        while True:
            frame = await request(reader)
            count = int.from_bytes(frame[10:12], "big")
            if count == 8:
                writer.write(frame[:4] + bytes([0, 3, frame[6], 0x83, 2]))
                continue
            first = int.from_bytes(frame[8:10], "big")
            words = [cycle if at == 1 else 0 for at in range(first, first + count)]  # cycle and float32 0.0
            writer.write(answer(frame, words))
            cycle += ticks

    async with tcp_server(device) as port, source_at(port, components) as source:
        [telemetry] = await source.read()
    if ticks:
        assert (telemetry.cycle, telemetry.metrics) == (None, {})
        assert set(telemetry.quality.values()) == {Quality.STALE}
    else:
        assert (telemetry.cycle, telemetry.metrics) == (5, dict.fromkeys(tags, 0.0))


async def test_device_with_a_maximum_of_its_own_is_never_asked_for_more():
    """The plant refuses more than its maximum with exception 03; every tag is read, over a named gap too."""
    tags = {f"t{i}": {"address": 2 + 2 * i} for i in range(60)} | {"far": {"address": 124}}
    limits = {"registers_per_read_max": 7, "readable_gaps": [{"address": 122, "count": 2}]}
    components = fleet(coolant_pump=registers(**tags) | limits)
    eager = fleet(coolant_pump=registers(**tags) | limits | {"registers_per_read_max": 8})
    async with plant(components) as server:
        async with source_at(server.port, components) as source:
            (reading,) = await source.read()
        async with source_at(server.port, eager) as source:
            (refused,) = await source.read()
    assert reading.metrics == {tag: 10.0 + i for i, tag in enumerate(tags)}
    assert reading.cycle == 1
    assert Quality.DEVICE_EXCEPTION in refused.quality.values()


async def test_plant_that_has_shown_nothing_yet_gives_no_number():
    """A unit without a first cycle answers busy; its registers are not taken for zeros."""
    components = fleet()
    async with (
        PlantServer("127.0.0.1", free_port(), components) as server,
        source_at(server.port, components) as source,
    ):
        readings = await source.read()
    assert [reading.metrics for reading in readings] == [{}, {}]
    assert set(readings[0].quality.values()) == {Quality.DEVICE_EXCEPTION}


async def test_silent_plant_is_a_timeout_and_its_late_reply_is_never_the_next_answer():
    """A reply that comes after the timeout, even without a transaction id, must not be taken for another."""
    seen: list[bytes] = []

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frame = await request(reader)
        seen.append(frame)
        if len(seen) == 1:
            with suppress(asyncio.TimeoutError, asyncio.IncompleteReadError):
                seen.append(await asyncio.wait_for(request(reader), 2 * TIMEOUT_S))
            writer.write(answer(frame, [0, 1, 0, 0], transaction=b"\0\0"))
            await writer.drain()
            return
        writer.write(answer(frame, [0, 2, 0x4248, 0]))
        await reader.read()

    components = fleet(coolant_pump=registers(t={"address": 2}))
    async with tcp_server(late) as port, source_at(port, components) as source:
        (first,) = await source.read()
        (second,) = await source.read()
    assert first.quality == {"t": Quality.TIMEOUT}
    assert (first.cycle, first.metrics) == (None, {})
    assert (second.cycle, second.metrics) == (2, {"t": 50.0})


async def test_short_answer_is_no_answer():
    """Fewer registers than asked for would shift every later tag: none of them is taken."""

    async def short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(answer(await request(reader), [0, 1, 0x4248]))

    components = fleet(coolant_pump=registers(t={"address": 2}))
    async with tcp_server(short) as port, source_at(port, components) as source:
        (reading,) = await source.read()
    assert reading.quality == {"t": Quality.DEVICE_EXCEPTION}


async def test_absent_plant_is_disconnected_within_the_timeout_and_comes_back_by_itself():
    """No plant: every tag DISCONNECTED, no waiting; a plant that appears is read at the next poll."""
    components, port = fleet(), free_port()
    async with source_at(port, components) as source:
        began = time.monotonic()
        away = await source.read()
        assert time.monotonic() - began < 2 * TIMEOUT_S
        assert [set(r.quality.values()) for r in away] == [{Quality.DISCONNECTED}] * 2
        async with PlantServer("127.0.0.1", port, components) as server:
            server.show(PUMP, 3, {})
            assert (await source.read())[0].cycle == 3
        assert (await source.read())[0].cycle is None
        async with PlantServer("127.0.0.1", port, components) as server:
            server.show(PUMP, 4, {})
            assert (await source.read())[0].cycle == 4


async def test_device_that_hangs_up_costs_no_timeout_and_is_read_again_in_the_same_poll():
    """The request that it cut off is DISCONNECTED at once; the next is made over a new connection."""
    seen: list[bytes] = []

    async def hang_up_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            frame = await request(reader)
            seen.append(frame)
            if len(seen) == 1:
                return
            writer.write(answer(frame, [0, 2, 0x4248, 0]))

    parts = {f"pump_{i}": {"type": "coolant_pump"} | registers(t={"address": 2}) for i in range(2)}
    async with (
        tcp_server(hang_up_once) as port,
        ModbusSource("TX01", Plant(port=port, timeout_s=1), fleet(**parts)) as source,
    ):
        began = time.monotonic()
        first, second = await source.read()
        assert time.monotonic() - began < 0.9
    assert first.quality == {"t": Quality.DISCONNECTED}
    assert second.metrics == {"t": 50.0}


async def test_connection_attempt_that_hangs_costs_a_poll_no_more_than_the_timeout(monkeypatch):
    """Four components of an unreachable host wait once, not four times."""

    async def hang(*_args, **_kwargs):
        await asyncio.sleep(60)

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", hang)
    parts = {f"pump_{i}": {"type": "coolant_pump"} for i in range(4)}
    async with source_at(free_port(), fleet(**parts)) as source:
        began = time.monotonic()
        readings = await source.read()
        assert TIMEOUT_S <= time.monotonic() - began < 2 * TIMEOUT_S
    assert {q for r in readings for q in r.quality.values()} == {Quality.DISCONNECTED}


async def test_registers_of_a_unit_change_together():
    """However fast the plant ticks, a read never holds two cycles."""
    components = fleet(coolant_pump=registers(**{f"t{i}": {"address": 2 * i + 2} for i in range(60)}))

    async def tick(server: PlantServer) -> None:
        cycle = 0
        while True:
            cycle += 1
            server.show(PUMP, cycle, {f"t{i}": float(cycle + 1000 * i) for i in range(60)})
            await asyncio.sleep(0)

    async with plant(components) as server, source_at(server.port, components) as source:
        ticking = asyncio.create_task(tick(server))
        await asyncio.sleep(0)
        cycles = set()
        for _ in range(100):
            (reading,) = await source.read()
            assert reading.metrics == {f"t{i}": reading.cycle + 1000.0 * i for i in range(60)}
            cycles.add(reading.cycle)
        ticking.cancel()
    assert len(cycles) > 50


async def test_agent_emits_only_function_codes_3_and_4():
    """Read only, seen on the wire: through good polls, bisection, timeouts and reconnections."""
    codes: Counter[int] = Counter()
    served = registers(a={"address": 2}, b={"address": 6, "table": "input"})
    asked = registers(a={"address": 2}, c={"address": 4}, b={"address": 6, "table": "input"})
    async with plant(fleet(coolant_pump=served)) as server:

        async def record(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", server.port)
            try:
                for _ in range(8):
                    frame = await request(reader)
                    codes[frame[7]] += 1
                    up_writer.write(frame)
                    writer.write(await request(up_reader))
                codes[(await request(reader))[7]] += 1  # and no answer: the agent times out and reconnects
                await reader.read()
            finally:
                up_writer.close()

        async with tcp_server(record) as port, source_at(port, fleet(coolant_pump=asked)) as source:
            readings: list[Telemetry] = []
            for _ in range(6):
                readings += await source.read()
    qualities = {quality for reading in readings for quality in reading.quality.values()}
    assert qualities == {Quality.DEVICE_EXCEPTION, Quality.TIMEOUT}
    assert codes.keys() == {3, 4}
    assert codes.total() > 15


async def test_taken_port_is_a_clear_message_and_a_foreign_address_is_refused():
    """The message names the port and the remedy; nothing listens beyond loopback."""
    async with plant(fleet()) as server:
        with pytest.raises(Retryable, match=rf"{server.port} cannot be listened on.*another plant.port"):
            async with PlantServer("127.0.0.1", server.port, fleet()):
                pass
    with pytest.raises(ConfigError, match=r"plant.host.*\n.*only loopback"):
        async with PlantServer("0.0.0.0", free_port(), fleet()):
            pass


MBPOLL = pytest.mark.skipif(
    shutil.which("mbpoll") is None, reason="mbpoll is not installed; apt-get install mbpoll"
)


async def mbpoll(port: int, *options: str) -> tuple[int | None, str]:
    command = ["mbpoll", "-m", "tcp", "-p", str(port), "-1", *options]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 10)
    return process.returncode, output.decode()


def values_of(output: str) -> list[str]:
    return re.findall(r"^\[\d+\]:\s+(\S+)$", output, flags=re.MULTILINE)


@MBPOLL
@pytest.mark.parametrize(("order", "flag"), [("ABCD", ["-B"]), ("CDAB", [])])
async def test_mbpoll_prints_the_float_that_the_agent_recorded(order, flag):
    """Any Modbus client reads the plant: the same cycle, the same floats, in both word orders."""
    names = list(fleet()[PUMP].tags)
    tags = {name: {"address": 2 + 2 * i, "order": order} for i, name in enumerate(names)}
    components = fleet(coolant_pump=registers(**tags))
    async with PlantServer("127.0.0.1", free_port(), components) as server:
        await asyncio.wait_for(_show_cycles(server, components, 5), 5)
        async with source_at(server.port, components) as source:
            (reading,) = await source.read()
        unit = ["-a", str(components[PUMP].unit)]
        _, floats = await mbpoll(
            server.port, *unit, "-t", "4:float", *flag, "-r", "3", "-c", "8", "127.0.0.1"
        )
        _, cycle = await mbpoll(server.port, *unit, "-t", "4:int", "-B", "-r", "1", "-c", "1", "127.0.0.1")
    assert values_of(cycle) == [str(reading.cycle)] == ["4"]
    assert values_of(floats) == [f"{value:g}" for value in reading.metrics.values()]
    assert len(reading.metrics) == 8


async def _show_cycles(server: PlantServer, components: dict[ComponentId, Component], count: int) -> None:
    rows = simulated(components, seed=3)
    await serve_rows(server, (next(rows) for _ in range(count)), None, 0.01)


@MBPOLL
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-t", "4", "-r", "300", "127.0.0.1"], "Illegal data address"),
        (["-t", "4", "-r", "18", "-c", "2", "127.0.0.1"], "Illegal data address"),
        (["-t", "3", "-r", "1", "127.0.0.1"], "Illegal data address"),
        (["-t", "0", "-r", "1", "127.0.0.1"], "Illegal function"),
        (["-t", "4", "-r", "3", "127.0.0.1", "--", "7"], "Illegal function"),
    ],
)
async def test_plant_answers_no_hole_and_takes_no_write(options, message):
    """Unmapped addresses answer exception 02, coils and writes 01."""
    async with plant(fleet()) as server:
        code, output = await mbpoll(server.port, "-a", "1", *options)
    assert message in output
    assert code != 0
