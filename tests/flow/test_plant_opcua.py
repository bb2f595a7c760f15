"""An OPC UA plant on real sockets and the agent's source reading it: quality, bad days, read only, tools."""

import asyncio
import json
import math
import sqlite3
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from asyncua import Client, Node, Server, ua
from typer.testing import CliRunner

from edge_agent.app import Agent
from edge_agent.commands.check import check
from edge_agent.commands.read import read
from edge_agent.settings import AgentSettings
from edge_agent.simulation.opcua_server import OpcUaPlantServer
from edge_agent.simulation.served import plant_server
from edge_agent.sources.opcua import OpcUaSource
from shared.errors import ConfigError, Retryable
from shared.listen import free_port
from shared.opcua_nodes import COUNTER, NAMESPACE_URI, variable_identifier
from shared.plant_config import Plant
from shared.reactor_config import Component, parse_fleet
from shared.schemas import ComponentId, Quality, Telemetry, utc_now
from tests.support.releases import Centre

TIMEOUT_S = 0.5
PUMP = ComponentId("TX01", "R1", "coolant_pump")
EXCHANGER = ComponentId("TX01", "R1", "heat_exchanger")
READ_SERVICES = {
    "CreateSession",
    "ActivateSession",
    "CloseSession",
    "Browse",
    "Read",
    "CreateSubscription",
    "CreateMonitoredItems",
    "Publish",
    "DeleteSubscriptions",
}


def fleet(**reactor) -> dict[ComponentId, Component]:
    parts = reactor or {"coolant_pump": {}, "heat_exchanger": {}}
    return parse_fleet({"TX01": {"R1": parts}}, "test").components()


def tags(*names: str, **more) -> dict:
    """A component section with tags that have no range."""
    return {
        "tags": {
            name: {"unit": "1", "register": {"address": 4 * i + 2, "type": "float64"}}
            for i, name in enumerate(names)
        }
    } | more


def source_at(port: int, components: dict[ComponentId, Component], period_s: float = 0.5) -> OpcUaSource:
    plant = Plant(protocol="opc_ua", port=port, poll_period_s=period_s, timeout_s=min(TIMEOUT_S, period_s))
    return OpcUaSource("TX01", plant, components)


@asynccontextmanager
async def plant(components: dict[ComponentId, Component], port: int = 0) -> AsyncIterator[OpcUaPlantServer]:
    async with OpcUaPlantServer("127.0.0.1", port or free_port(), components) as server:
        for component_id, component in components.items():
            server.show(component_id, 1, {tag: 10.0 + i for i, tag in enumerate(component.tags)})
        yield server


class Foreign:
    """A server that is not ours: another namespace before ours, each variable written by itself."""

    def __init__(self, server: Server, port: int, nodes: dict[str, Node]) -> None:
        self.server, self.port, self._nodes = server, port, nodes

    async def put(self, moment: datetime, **values: float | ua.StatusCode) -> None:
        for name, value in values.items():
            bad = isinstance(value, ua.StatusCode)
            variant = ua.Variant(7.0 if bad else value, ua.VariantType.Double)
            status = value if bad else ua.StatusCode()
            await self._nodes[name].write_value(ua.DataValue(variant, status, SourceTimestamp=moment))


@asynccontextmanager
async def foreign(port: int, *names: str, before: int = 1) -> AsyncIterator[Foreign]:
    """It has the variables `names` and the counter, named `cycle` in `put`."""
    server = Server()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    server.disable_clock()
    await server.init()
    for i in range(before):
        await server.register_namespace(f"urn:somebody:else:{i}")
    index = await server.register_namespace(NAMESPACE_URI)
    nodes = {}
    for name in ("cycle", *names):
        identifier = variable_identifier(PUMP, COUNTER if name == "cycle" else name)
        node_id = ua.NodeId(identifier, index)
        nodes[name] = await server.nodes.objects.add_variable(
            node_id, f"{index}:{name}", 0.0, ua.VariantType.Double
        )
    async with server:
        yield Foreign(server, port, nodes)


# --- what the plant serves ----------------------------------------------------------------------


async def test_any_client_finds_objects_units_ranges_and_descriptions():
    """One object a component; each tag a variable with EngineeringUnits, EURange and a description."""
    components = fleet()
    async with plant(components) as server, Client(f"opc.tcp://127.0.0.1:{server.port}") as client:
        objects = {(await n.read_browse_name()).Name: n for n in await client.nodes.objects.get_children()}
        pump = {
            (await n.read_browse_name()).Name: n for n in await objects["R1/coolant_pump"].get_variables()
        }
        assert "R1/heat_exchanger" in objects
        assert pump.keys() == {*components[PUMP].tags, COUNTER}
        for name, tag in components[PUMP].tags.items():
            properties = {
                (await p.read_browse_name()).Name: await p.read_value()
                for p in await pump[name].get_properties()
            }
            assert properties["EngineeringUnits"].DisplayName.Text == tag.unit
            assert (properties["EURange"].Low, properties["EURange"].High) == tag.range
            assert (await pump[name].read_description()).Text == tag.description != ""
        shown = await pump["flow_rate"].read_data_value()
        assert shown.StatusCode.is_good()
        assert abs((utc_now() - shown.SourceTimestamp).total_seconds()) < 5
        assert shown.SourceTimestamp == (await pump[COUNTER].read_data_value()).SourceTimestamp


async def test_value_without_a_number_has_a_bad_status_on_the_wire():
    """NaN, infinity, a tag left out: BadSensorFailure; before the first cycle: BadWaitingForInitialData."""
    components = fleet()
    async with (
        OpcUaPlantServer("127.0.0.1", free_port(), components) as server,
        Client(f"opc.tcp://127.0.0.1:{server.port}") as client,
        source_at(server.port, components) as source,
    ):
        waiting = await source.read()
        assert {code async for code in statuses(client, components[PUMP])} == {"BadWaitingForInitialData"}
        names = list(components[PUMP].tags)
        server.show(PUMP, 5, dict.fromkeys(names[2:], 1.0) | {names[0]: math.nan, names[1]: math.inf})
        (first, *_) = await source.read()
        assert [code async for code in statuses(client, components[PUMP])][:3] == ["BadSensorFailure"] * 2 + [
            "Good"
        ]
        server.show(PUMP, 6, {})
        (second, *_) = await source.read()
    assert [(r.cycle, r.metrics) for r in waiting] == [(None, {})] * 2
    assert {q for r in waiting for q in r.quality.values()} == {Quality.DEVICE_EXCEPTION}
    assert (first.cycle, first.quality) == (5, dict.fromkeys(names[:2], Quality.NOT_A_NUMBER))
    assert (second.cycle, second.quality) == (6, dict.fromkeys(names, Quality.NOT_A_NUMBER))


async def statuses(client: Client, component: Component) -> AsyncIterator[str]:
    index = await client.get_namespace_index(NAMESPACE_URI)
    nodes = [ua.NodeId(variable_identifier(PUMP, name), index) for name in component.tags]
    for value in await client.uaclient.read_attributes(nodes, ua.AttributeIds.Value):
        yield value.StatusCode.name


@pytest.mark.parametrize("user", ["", "admin@"])
async def test_plant_refuses_writes(user):
    """Neither an anonymous client nor one that calls itself admin changes a value."""
    components = fleet()
    async with plant(components) as server:
        client = Client(f"opc.tcp://{user}127.0.0.1:{server.port}")
        with suppress(ua.UaError):
            async with client:
                index = await client.get_namespace_index(NAMESPACE_URI)
                node = client.get_node(ua.NodeId(variable_identifier(PUMP, "flow_rate"), index))
                with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
                    await node.write_value(99.0)
        async with source_at(server.port, components) as source:
            (reading, _) = await source.read()
        assert reading.metrics["flow_rate"] != 99.0
        assert reading.quality == {}


async def test_taken_port_is_a_clear_message_and_a_foreign_address_is_refused():
    """The message names the port and the remedy; nothing listens beyond loopback."""
    async with plant(fleet()) as server:
        with pytest.raises(Retryable, match=rf"{server.port} cannot be listened on.*another plant.port"):
            async with OpcUaPlantServer("127.0.0.1", server.port, fleet()):
                pass
    with pytest.raises(ConfigError, match=r"plant.host.*\n.*only loopback"):
        async with OpcUaPlantServer("0.0.0.0", free_port(), fleet()):
            pass


# --- quality ------------------------------------------------------------------------------------


@pytest.fixture
async def pump_of_another() -> AsyncIterator[tuple[Foreign, OpcUaSource]]:
    components = fleet(coolant_pump=tags("a", "b"))
    async with foreign(free_port(), "a", "b") as server, source_at(server.port, components) as source:
        yield server, source


async def test_status_codes_become_qualities(pump_of_another):
    """Each status has its quality and no number, an uncertain one too; the neighbour stays good."""
    server, source = pump_of_another
    expected = {
        "BadNoCommunication": Quality.DISCONNECTED,
        "BadTimeout": Quality.TIMEOUT,
        "BadOutOfRange": Quality.OUT_OF_RANGE,
        "BadSensorFailure": Quality.NOT_A_NUMBER,
        "UncertainLastUsableValue": Quality.STALE,
        "UncertainSensorNotAccurate": Quality.DEVICE_EXCEPTION,
        "BadConfigurationError": Quality.DEVICE_EXCEPTION,
    }
    found = {}
    for cycle, name in enumerate(expected):
        status = ua.StatusCode(getattr(ua.StatusCodes, name))
        await server.put(utc_now(), cycle=float(cycle), a=status, b=2.5)
        (reading,) = await source.read()
        assert (reading.cycle, reading.metrics) == (cycle, {"b": 2.5})
        found[name] = reading.quality["a"]
    assert found == expected


async def test_tag_of_another_moment_than_the_counter_is_stale(pump_of_another):
    """A server that brings one tag late: the value of the cycle before is not taken for this one."""
    server, source = pump_of_another
    now = utc_now()
    await server.put(now, cycle=1.0, a=1.0, b=1.0)
    (first,) = await source.read()
    await server.put(now + timedelta(seconds=1), cycle=2.0, a=2.0)
    (second,) = await source.read()
    assert (first.cycle, first.metrics) == (1, {"a": 1.0, "b": 1.0})
    assert (second.cycle, second.metrics, second.quality) == (2, {"a": 2.0}, {"b": Quality.STALE})


@pytest.mark.parametrize("counter", [math.nan, -1.0, ua.StatusCode(ua.StatusCodes.BadTimeout)])
async def test_counter_that_counts_nothing_leaves_no_tag_good(pump_of_another, counter):
    """Without a cycle nothing says what the tags belong to."""
    server, source = pump_of_another
    await server.put(utc_now(), cycle=counter, a=1.0, b=1.0)
    (reading,) = await source.read()
    assert (reading.cycle, reading.metrics) == (None, {})
    assert len(set(reading.quality.values())) == 1


async def test_source_time_is_the_devices_unless_its_clock_is_wrong_or_the_cycle_repeats(pump_of_another):
    """SourceTimestamp is kept; one that is a year off is not believed; a repeat is an observation of now."""
    server, source = pump_of_another
    moment = utc_now().replace(microsecond=1000)
    await server.put(moment, cycle=1.0, a=1.0, b=1.0)
    times = [(await source.read())[0].timestamp for _ in range(2)]
    await server.put(datetime(2001, 1, 1, tzinfo=UTC), cycle=2.0, a=1.0, b=1.0)
    times.append((await source.read())[0].timestamp)
    assert times[0] == moment
    assert moment < times[1] < times[2] <= utc_now()


async def test_variable_that_the_server_lacks_makes_only_its_own_tag_bad():
    """BadNodeIdUnknown of one monitored item; the namespace is found by its URI wherever it stands."""
    components, port = fleet(coolant_pump=tags("a", "b")), free_port()
    async with source_at(port, components) as source:
        for before, cycle in ((1, 1), (3, 2)):
            async with foreign(port, "a", before=before) as server:
                await server.put(utc_now(), cycle=float(cycle), a=1.0)
                (reading,) = await polled(source, lambda r: r[0].cycle is not None)
            assert (reading.cycle, reading.metrics) == (cycle, {"a": 1.0})
            assert reading.quality == {"b": Quality.DEVICE_EXCEPTION}


async def test_component_without_a_counter_gives_what_this_connection_brought():
    """No counter is configured: the newest value of each tag, whatever its moment."""
    components = fleet(coolant_pump=tags("a", "b", cycle_register=None))
    async with foreign(free_port(), "a", "b") as server, source_at(server.port, components) as source:
        await server.put(utc_now(), a=1.0)
        await server.put(utc_now(), b=2.0)
        (reading,) = await source.read()
    assert (reading.cycle, reading.metrics, reading.quality) == (None, {"a": 1.0, "b": 2.0}, {})


async def polled(source: OpcUaSource, enough: Callable[[list[Telemetry]], bool]) -> list[Telemetry]:
    """Polls until a poll is enough, for a minute at most."""
    async with asyncio.timeout(60):
        while not enough(readings := await source.read()):
            await asyncio.sleep(0.05)
    return readings


# --- bad days -----------------------------------------------------------------------------------


async def test_absent_plant_is_disconnected_within_the_timeout_and_comes_back_by_itself():
    """No plant: every tag DISCONNECTED, no waiting; one that appears is read, and so is its successor."""
    components, port = fleet(), free_port()
    async with source_at(port, components) as source:
        began = time.monotonic()
        away = await source.read()
        assert time.monotonic() - began < 2 * TIMEOUT_S
        assert [set(r.quality.values()) for r in away] == [{Quality.DISCONNECTED}] * 2
        for cycle in (3, 4):
            async with OpcUaPlantServer("127.0.0.1", port, components) as server:
                server.show(PUMP, cycle, dict.fromkeys(components[PUMP].tags, 1.0))
                (reading, _) = await polled(source, lambda r: r[0].cycle is not None)
                assert (reading.cycle, reading.quality) == (cycle, {})
            assert {q for r in await source.read() for q in r.quality.values()} == {Quality.DISCONNECTED}


async def test_silent_plant_is_a_timeout_within_the_timeout():
    """A server that accepts and says nothing costs a poll its timeout, however many components it has."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server, source_at(server.sockets[0].getsockname()[1], fleet()) as source:
        began = time.monotonic()
        readings = await source.read()
        assert TIMEOUT_S <= time.monotonic() - began < 2 * TIMEOUT_S
        await asyncio.sleep(0.05)
    assert {q for r in readings for q in r.quality.values()} == {Quality.TIMEOUT}


async def test_source_that_is_stopped_while_it_connects_leaves_nothing_open():
    """A stop in the midst of connecting: the socket is closed, and no task of it stays."""
    heard: list[bytes] = []

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    before = asyncio.all_tasks()
    async with server:
        async with source_at(server.sockets[0].getsockname()[1], fleet()) as source:
            polling = asyncio.create_task(source.read())
            await asyncio.sleep(0.1)
            polling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await polling
        await asyncio.sleep(0.05)
        assert [frame[:3] for frame in heard] == [b"HEL"]
        assert asyncio.all_tasks() == before


async def test_plant_far_away_is_reached_though_connecting_outlasts_a_poll():
    """Each answer comes late but within the timeout; the ten of connecting do not fit one poll."""
    components = fleet()
    async with (
        plant(components) as server,
        recorded(server.port, delay_s=TIMEOUT_S / 4) as (port, _, _),
        source_at(port, components) as source,
    ):
        first = await source.read()
        (reading, _) = await polled(source, lambda r: bool(r[0].metrics))
    assert {q for r in first for q in r.quality.values()} == {Quality.TIMEOUT}
    assert reading.quality == {}


async def test_subscription_that_the_server_lost_is_stale_and_then_made_anew():
    """Reads still answer, publications do not: no number of before is given; a new subscription follows."""
    components = fleet(coolant_pump=tags("a"))
    async with plant(components) as server, source_at(server.port, components, 0.2) as source:
        (first,) = await polled(source, lambda r: bool(r[0].metrics))
        assert first.metrics == {"a": 10.0}
        for subscription in server._server.iserver.subscription_service.subscriptions.values():
            await subscription.stop()
        server.show(PUMP, 2, {"a": 11.0})
        await asyncio.sleep(0.05)
        (lost,) = await source.read()
        assert (lost.cycle, lost.metrics, lost.quality) == (2, {}, {"a": Quality.STALE})
        (again,) = await polled(source, lambda r: bool(r[0].metrics))
    assert (again.cycle, again.metrics) == (2, {"a": 11.0})


async def test_variables_of_a_component_change_together():
    """However fast the plant ticks, a poll never holds two cycles."""
    names = [f"t{i}" for i in range(40)]
    components = fleet(coolant_pump=tags(*names))

    async def tick(server: OpcUaPlantServer) -> None:
        for cycle in range(1, 100_000):
            server.show(PUMP, cycle, {name: float(cycle + 1000 * i) for i, name in enumerate(names)})
            await asyncio.sleep(0.002)

    async with plant(components) as server, source_at(server.port, components, 0.2) as source:
        ticking = asyncio.create_task(tick(server))
        cycles = set()
        for _ in range(60):
            (reading,) = await source.read()
            assert reading.metrics.keys() | reading.quality.keys() == set(names)
            assert (
                reading.metrics.items()
                <= {n: reading.cycle + 1000.0 * i for i, n in enumerate(names)}.items()
            )
            if reading.metrics:
                cycles.add(reading.cycle)
        ticking.cancel()
    assert len(cycles) > 30


# --- read only ----------------------------------------------------------------------------------


class Recorder:
    """Stands between a client and a server and keeps the service of every request that passes."""

    def __init__(self) -> None:
        self.services: Counter[str] = Counter()
        self._buffer = b""
        self._continued = False

    def hear(self, data: bytes) -> None:
        """OPC UA part 6, sections 6.7.2 and 7.1.2: headers of 8 and 16 bytes, then the request's type id."""
        self._buffer += data
        while len(self._buffer) >= 8 and len(self._buffer) >= (
            size := struct.unpack_from("<I", self._buffer, 4)[0]
        ):
            frame, self._buffer = self._buffer[:size], self._buffer[size:]
            if frame[:3] == b"MSG":
                if not self._continued:
                    assert frame[24:26] == b"\x01\x00", "a type id that is not of namespace 0"
                    name = ua.ObjectIdNames[struct.unpack_from("<H", frame, 26)[0]]
                    self.services[name.removesuffix("Request_Encoding_DefaultBinary")] += 1
                self._continued = frame[3:4] == b"C"

    def beyond_reading(self) -> set[str]:
        return self.services.keys() - READ_SERVICES


@asynccontextmanager
async def recorded(
    port: int, delay_s: float = 0.0
) -> AsyncIterator[tuple[int, Recorder, Callable[[], None]]]:
    """A proxy to `port`: where it listens, what it heard, and the way to cut all its connections.

    Answers come `delay_s` late.
    """
    recorder, writers = Recorder(), []

    async def pump(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hear: Callable[[bytes], None] | None
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if hear is not None:
                    hear(data)
                else:
                    await asyncio.sleep(delay_s)
                writer.write(data)
        writer.close()

    tasks: list[Awaitable[None]] = []

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        writers.extend([writer, up_writer])
        recorder._buffer = b""
        both = asyncio.gather(pump(reader, up_writer, recorder.hear), pump(up_reader, writer, None))
        tasks.append(both)
        await both

    def cut() -> None:
        for writer in writers:
            writer.transport.abort()
        writers.clear()

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], recorder, cut
        cut()
        await asyncio.wait_for(asyncio.gather(*tasks), 5)


class WritesToThePlant(OpcUaSource):
    """The adapter with a write that must be noticed."""

    async def read(self) -> list[Telemetry]:
        readings = await super().read()
        with suppress(ua.UaError):
            client = self._connection._client
            await client.get_node(ua.NodeId(variable_identifier(PUMP, "flow_rate"), 2)).write_value(1.0)
        return readings


class CallsThePlant(OpcUaSource):
    """The adapter with a method call that must be noticed."""

    async def read(self) -> list[Telemetry]:
        readings = await super().read()
        method = ua.CallMethodRequest(
            ua.NodeId(ua.ObjectIds.Server), ua.NodeId(ua.ObjectIds.Server_GetMonitoredItems)
        )
        await self._connection._client.uaclient.call([method])
        return readings


@pytest.mark.parametrize(
    ("kind", "noticed"), [(OpcUaSource, set()), (WritesToThePlant, {"Write"}), (CallsThePlant, {"Call"})]
)
async def test_agent_asks_only_for_services_that_read(kind, noticed):
    """Read only, seen on the wire through good polls and a cut connection; a write or a call is noticed."""
    components = fleet()
    config = Plant(protocol="opc_ua", port=1, poll_period_s=0.5, timeout_s=TIMEOUT_S)
    async with (
        plant(components) as server,
        recorded(server.port) as (port, recorder, cut),
        kind("TX01", config.model_copy(update={"port": port}), components) as source,
    ):
        for _ in range(5):
            await polled(source, lambda r: bool(r[0].metrics))
        if kind is OpcUaSource:
            cut()
            await asyncio.sleep(0.05)
            lost = await source.read()
            assert {q for r in lost for q in r.quality.values()} == {Quality.DISCONNECTED}
            await polled(source, lambda r: bool(r[0].metrics))
    assert recorder.beyond_reading() == noticed
    assert {"Read", "CreateSubscription", "CreateMonitoredItems", "Publish"} <= recorder.services.keys()
    assert recorder.services.total() > 15


# --- the agent, and programs --------------------------------------------------------------------


async def test_agent_keeps_what_an_opc_ua_plant_shows(tmp_path):
    """A site whose plant speaks OPC UA: the agent's outbox holds its cycles, number for number."""
    section = {"protocol": "opc_ua", "port": free_port(), "poll_period_s": 0.1, "timeout_s": 0.1}
    config = parse_fleet({"TX01": {"plant": section, "R1": {"coolant_pump": {}}}}, "test")
    settings = AgentSettings(
        config=tmp_path / "unused.yaml", site="TX01", data_dir=tmp_path / "data",
        trust_dir=Centre(tmp_path).trust["TX01"], kafka="127.0.0.1:1", fleet="127.0.0.1:1",
        repository="http://127.0.0.1:1", health=f"127.0.0.1:{free_port()}",
    )  # fmt: skip
    components, shown, stop = config.components(), {}, asyncio.Event()
    server = plant_server("TX01", config.sites["TX01"].plant, components)
    async with server:
        running = asyncio.create_task(Agent(settings, config).run(stop))
        for cycle in range(40):
            shown[cycle] = dict.fromkeys(components[PUMP].tags, 20.0 + cycle)
            server.show(PUMP, cycle, shown[cycle])
            await asyncio.sleep(0.1)
        stop.set()
        await running
    with closing(sqlite3.connect(settings.data_dir / "outbox.db")) as db:
        found = db.execute("SELECT body FROM records WHERE schema = 'telemetry/1' ORDER BY seq")
        rows = [json.loads(body) for (body,) in found]
    good = {row["cycle"]: row["metrics"] for row in rows if row["metrics"]}
    assert good.items() <= shown.items()
    assert len(good) > 15


async def tool(name: str, *options: str) -> str:
    """asyncua's own command-line client, as it comes with the package."""
    program = Path(sys.executable).with_name(name)
    process = await asyncio.create_subprocess_exec(
        program, *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    return output.decode()


async def test_command_line_client_prints_what_the_agent_recorded():
    """`uals` lists the component's variables, `uaread` prints the same float."""
    components = fleet()
    async with plant(components) as server, source_at(server.port, components) as source:
        server.show(PUMP, 4, {tag: 10.1 + i for i, tag in enumerate(components[PUMP].tags)})
        (reading, _) = await source.read()
        url = f"opc.tcp://127.0.0.1:{server.port}"
        listed = await tool("uals", "-u", url, "--timeout", "5", "-n", "ns=2;s=R1/coolant_pump")
        value = await tool("uaread", "-u", url, "--timeout", "5", "-n", "ns=2;s=R1/coolant_pump/flow_rate")
    assert all(f"ns=2;s=R1/coolant_pump/{tag}" in listed for tag in (*components[PUMP].tags, COUNTER))
    assert float(value.splitlines()[-1]) == reading.metrics["flow_rate"]


def once(command: Callable[..., None], *options: str):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, options)


def test_plant_check_and_read_commands_speak_opc_ua(tmp_path):
    """The same three commands as over Modbus; `check` tells variables, not register requests."""
    path = tmp_path / "fleet.yaml"
    path.write_text(
        f"TX01:\n  plant: {{protocol: opc_ua, port: {free_port()}, poll_period_s: 0.5, timeout_s: 0.5}}\n"
        "  R1: {coolant_pump: {}}\n"
    )
    options = ["--config", str(path), "--site", "TX01"]
    checked = once(check, *options).stdout
    assert "TX01: opc_ua 127.0.0.1" in checked
    assert "TX01/R1/coolant_pump: 9 variables subscribed; the cycle counter is read at each poll" in checked
    assert f"nsu={NAMESPACE_URI};s=R1/coolant_pump/flow_rate: flow_rate" in checked
    assert "register" not in checked
    program = "import typer; from edge_agent.commands.plant import plant; typer.run(plant)"
    with subprocess.Popen(
        [sys.executable, "-c", program, *options], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert "TX01: OPC UA on 127.0.0.1" in process.stdout.readline()
            time.sleep(0.3)
            good = once(read, "--once", "--json", *options)
            process.terminate()
            assert process.wait(10) == 0
        finally:
            process.kill()
    rows = json.loads(good.stdout)
    assert good.exit_code == 0
    assert {row["quality"] for row in rows} == {"good"}
    assert rows[0]["request"] == f"nsu={NAMESPACE_URI};s=R1/coolant_pump/{rows[0]['tag']}"
