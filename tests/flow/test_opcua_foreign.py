"""OPC UA servers that are not our plant: their own node ids, namespace order and data types."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import typer
from asyncua import Server, ua
from typer.testing import CliRunner

from edge_agent.commands.check import check
from edge_agent.simulation.opcua_server import OpcUaPlantServer
from edge_agent.sources.opcua import OpcUaSource
from shared.listen import free_port
from shared.plant_config import Plant
from shared.reactor_config import Component, parse_fleet
from shared.schemas import ComponentId, Quality, Telemetry

URI, OTHER_URI = "http://example.com/plc;line%1", "urn:example:second"
WRITTEN_URI = "http://example.com/plc%3Bline%251"  # as OPC UA part 6, section 5.3.1.10, wants it
GUID = uuid.UUID("09087e75-8e5e-499b-954f-f2a9603db28a")
PUMP = ComponentId("TX01", "R1", "coolant_pump")
GOOD = {
    "int16": (ua.VariantType.Int16, -7, f"nsu={WRITTEN_URI};s=Line/Pump.speed=[1]"),
    "int32": (ua.VariantType.Int32, -70_000, f"nsu={WRITTEN_URI};i=4711"),
    "uint16": (ua.VariantType.UInt16, 65_535, f"nsu={WRITTEN_URI};g={GUID}"),
    "uint32": (ua.VariantType.UInt32, 2**32 - 1, f"nsu={WRITTEN_URI};b=AAEC/w=="),
    "int64": (ua.VariantType.Int64, -(2**40), f"nsu={OTHER_URI};s=a"),
    "byte": (ua.VariantType.Byte, 200, f"nsu={OTHER_URI};s=b"),
    "float": (ua.VariantType.Float, 0.5, f"nsu={OTHER_URI};s=c"),
    "double": (ua.VariantType.Double, 0.1, f"nsu={OTHER_URI};s=d"),
    "boolean": (ua.VariantType.Boolean, True, f"nsu={OTHER_URI};s=e"),
}
NO_NUMBERS = {
    "text": (ua.VariantType.String, "12.5", f"nsu={OTHER_URI};s=f"),
    "array": (ua.VariantType.Double, [1.0, 2.0], f"nsu={OTHER_URI};s=g"),
}
LACKING = {"node_gone": f"nsu={OTHER_URI};s=nobody", "namespace_gone": "nsu=urn:example:third;s=a"}
IDENTIFIERS = {"int16": "Line/Pump.speed=[1]", "int32": 4711, "uint16": GUID, "uint32": b"\x00\x01\x02\xff"}


def components(nodes: dict[str, str]) -> dict[ComponentId, Component]:
    tags = {name: {"unit": "1", "node": node} for name, node in nodes.items()}
    return parse_fleet({"TX01": {"R1": {"coolant_pump": {"tags": tags}}}}, "test").components()


def source_at(port: int, parts: dict[ComponentId, Component]) -> OpcUaSource:
    plant = Plant(protocol="opc_ua", port=port, poll_period_s=2.0, timeout_s=2.0)  # a busy machine takes long
    return OpcUaSource("TX01", plant, parts)


@asynccontextmanager
async def plc(port: int, *uris: str) -> AsyncIterator[None]:
    """A server with these namespaces in this order; its variables lie in folders of its own."""
    server = Server()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    server.disable_clock()
    await server.init()
    index = {uri: await server.register_namespace(uri) for uri in uris}
    folder = await server.nodes.objects.add_folder(index[OTHER_URI], "Line 1")
    for name, (kind, value, node) in (GOOD | NO_NUMBERS).items():
        uri = URI if name in IDENTIFIERS else OTHER_URI
        node_id = ua.NodeId(IDENTIFIERS.get(name, node[-1]), index[uri])
        variable = await folder.add_variable(node_id, f"{index[uri]}:{name}", value, kind)
        await variable.write_value(ua.DataValue(ua.Variant(value, kind)))
    async with server:
        yield


async def polled(source: OpcUaSource) -> Telemetry:
    """Polls until there is a number, for a minute at most."""
    async with asyncio.timeout(60):
        while not (reading := (await source.read())[0]).metrics:
            await asyncio.sleep(0.05)
    return reading


async def test_numbers_of_every_type_are_read_from_the_nodes_that_the_tags_name():
    """Text, GUID, numeric and opaque ids; texts and arrays are no numbers; what is not there is bad alone.

    After a restart the namespaces stand in another order, and the same nodes are read.
    """
    port = free_port()
    parts = components({name: node for name, (_, _, node) in (GOOD | NO_NUMBERS).items()} | LACKING)
    expected = {name: float(value) for name, (_, value, _) in GOOD.items()}
    async with source_at(port, parts) as source:
        for uris in ((URI, "urn:example:between", OTHER_URI), (OTHER_URI, URI)):
            async with plc(port, *uris):
                reading = await polled(source)
            assert (reading.cycle, reading.metrics) == (None, expected)
            assert reading.quality == dict.fromkeys(NO_NUMBERS, Quality.NOT_A_NUMBER) | dict.fromkeys(
                LACKING, Quality.DEVICE_EXCEPTION
            )


async def test_our_plant_serves_the_nodes_that_the_tags_name():
    """A configuration for a foreign server can be tried before the server is there."""
    parts = components({name: node for name, (_, _, node) in GOOD.items()})
    async with (
        OpcUaPlantServer("127.0.0.1", free_port(), parts) as server,
        source_at(server.port, parts) as source,
    ):
        server.show(PUMP, 1, dict.fromkeys(GOOD, 2.0))
        reading = await polled(source)
    assert reading.metrics == dict.fromkeys(GOOD, 2.0)


def test_check_shows_the_nodes(tmp_path):
    """`check` prints each tag's node id as it is written, and that no counter is read."""
    path = tmp_path / "fleet.yaml"
    tags = {name: {"unit": "1", "node": node} for name, (_, _, node) in GOOD.items()}
    site = {"plant": {"protocol": "opc_ua"}, "R1": {"coolant_pump": {"tags": tags}}}
    path.write_text(json.dumps({"TX01": site}))  # JSON is YAML too
    app = typer.Typer()
    app.command()(check)
    shown = CliRunner().invoke(app, ["--config", str(path), "--site", "TX01"]).stdout
    assert "TX01/R1/coolant_pump: 9 variables subscribed\n" in shown
    for name, (_, _, node) in GOOD.items():
        assert f"    {node}: {name}\n" in shown
