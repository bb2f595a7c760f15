"""Sparkplug B through a real broker: births, deaths, lost messages, read only, a foreign node."""

import asyncio
import gc
import math
import shutil
import time
import weakref
from collections.abc import Callable
from contextlib import asynccontextmanager

import paho.mqtt.client as mqtt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.commands.read import _print_table, _rows
from edge_agent.simulation.sparkplug_plant import SparkplugPlant
from edge_agent.sources.sparkplug import SparkplugSource
from shared import sparkplug
from shared.errors import Rejected, Retryable
from shared.listen import free_port
from shared.modbus_registers import as_read
from shared.plant_config import Plant
from shared.reactor_config import parse_fleet
from shared.schemas import ComponentId, Quality, Telemetry, utc_now
from shared.wire import sparkplug_b_pb2 as pb
from tests.support.mosquitto import mosquitto
from tests.support.mqtt_wire import PUBLISH, READ_ONLY, MqttWire
from tests.support.services import running

SITE = "TX01"
PUMP = ComponentId(SITE, "R1", "coolant_pump")
EXCHANGER = ComponentId(SITE, "R1", "heat_exchanger")
COMPONENTS = parse_fleet({SITE: {"R1": {"coolant_pump": {}, "heat_exchanger": {}}}}, "test").components()
SEEN_WITHIN_S = 60.0


def numbers(component: ComponentId, cycle: int) -> dict[str, float]:
    """A number of its own for each tag and cycle, within every range."""
    return {
        tag: as_read(
            t.register_, t.range[0] + (t.range[1] - t.range[0]) * (0.1 + 0.01 * i + (cycle % 500) * 1e-4)
        )
        for i, (tag, t) in enumerate(COMPONENTS[component].tags.items())
        if t.range is not None
    }


@pytest.fixture
def broker(tmp_path):
    port = free_port()
    with mosquitto(tmp_path, port) as process:
        yield port, process


def plant_at(port: int) -> SparkplugPlant:
    return SparkplugPlant(SITE, Plant(protocol="sparkplug_b", port=port), COMPONENTS)


def source_at(port: int) -> SparkplugSource:
    return SparkplugSource(SITE, Plant(protocol="sparkplug_b", port=port), COMPONENTS)


def show(plant: SparkplugPlant, cycle: int) -> None:
    for component in COMPONENTS:
        plant.show(component, cycle, numbers(component, cycle))


async def until(source: SparkplugSource, holds: Callable[[list[Telemetry]], bool]) -> list[Telemetry]:
    async with asyncio.timeout(SEEN_WITHIN_S):
        while not holds(readings := await source.read()):
            await asyncio.sleep(0.01)
    return readings


def at_cycle(cycle: int) -> Callable[[list[Telemetry]], bool]:
    return lambda readings: all(r.cycle == cycle for r in readings)


async def shown(plant: SparkplugPlant, source: SparkplugSource, cycle: int) -> None:
    """Show a cycle until the source has it: what is published before it has subscribed, nobody keeps."""
    async with asyncio.timeout(SEEN_WITHIN_S):
        while not at_cycle(cycle)(await source.read()):
            show(plant, cycle)
            await asyncio.sleep(0.05)


def all_are(quality: Quality) -> Callable[[list[Telemetry]], bool]:
    return lambda readings: all(set(r.quality.values()) == {quality} and not r.metrics for r in readings)


async def test_every_number_is_that_of_its_tag_and_cycle(broker):
    """Polled while it changes: a reading is one cycle of its component, whole."""
    port, _ = broker
    seen = set()
    async with source_at(port) as source, plant_at(port) as plant:
        await shown(plant, source, 0)
        for cycle in range(1, 400):
            show(plant, cycle)
            for reading in await source.read():
                assert reading.metrics == numbers(reading.component_id, reading.cycle)
                seen.add(reading.cycle)
            await asyncio.sleep(0.005)
        await until(source, at_cycle(399))
    assert len(seen) > 20


async def test_an_agent_that_comes_after_the_birth_reads_by_name(broker):
    port, _ = broker
    async with plant_at(port) as plant:
        show(plant, 0)
        async with source_at(port) as source:
            await until(source, all_are(Quality.TIMEOUT))
            await shown(plant, source, 1)


async def test_a_number_that_is_none_has_bad_quality_and_its_neighbours_stay(broker):
    port, _ = broker
    async with source_at(port) as source, plant_at(port) as plant:
        await shown(plant, source, 0)  # it has subscribed
        values = numbers(PUMP, 1)
        plant.show(PUMP, 1, values | {"flow_rate": math.nan})
        pump, _ = await until(source, lambda readings: readings[0].cycle == 1)
        assert pump.quality == {"flow_rate": Quality.NOT_A_NUMBER}
        assert pump.metrics.keys() == values.keys() - {"flow_rate"}


async def test_a_dead_node_has_no_number_and_a_new_birth_brings_them_back(broker):
    port, _ = broker
    async with source_at(port) as source:
        async with plant_at(port) as plant:
            await shown(plant, source, 5)
        await until(source, all_are(Quality.STALE))
        async with plant_at(port) as plant:
            await shown(plant, source, 6)


async def test_a_node_that_dies_without_a_word_is_told_by_its_will(broker):
    port, _ = broker
    async with source_at(port) as source, plant_at(port) as plant:
        await shown(plant, source, 5)
        plant._client.socket().close()  # the connection is gone, no farewell was sent
        await until(source, all_are(Quality.STALE))


async def test_a_broker_that_dies_is_disconnected_and_comes_back_by_itself(tmp_path):
    port = free_port()
    with mosquitto(tmp_path, port) as process:
        async with source_at(port) as source, plant_at(port) as plant:
            await shown(plant, source, 1)
            process.kill()
            await until(source, all_are(Quality.DISCONNECTED))
            with mosquitto(tmp_path, port):
                await shown(plant, source, 2)


async def test_what_has_ended_holds_no_socket_for_the_garbage_collector(broker):
    """Both sides' clients go with the last who holds them: their sockets are closed by then."""
    port, _ = broker
    gc.disable()
    try:
        async with source_at(port) as source, plant_at(port) as plant:
            await shown(plant, source, 1)
        clients = [weakref.ref(side._client) for side in (source, plant)]
        del source, plant
        assert [client() for client in clients] == [None, None]
    finally:
        gc.enable()


async def test_no_broker_is_said_with_its_remedy(tmp_path):
    port = free_port()
    with pytest.raises(Retryable, match=rf"no MQTT broker at 127.0.0.1:{port}.*mosquitto"):
        async with plant_at(port):
            pass
    async with source_at(port) as source:
        assert all_are(Quality.DISCONNECTED)(await source.read())


class Node:
    """A foreign edge node, message by message."""

    def __init__(self, port: int) -> None:
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def send(
        self, kind: str, seq: int, *metrics: pb.SparkplugMetric, device: str = "R1:coolant_pump"
    ) -> None:
        topic = sparkplug.Topic("pm-stack-smr", kind, SITE, "" if kind[0] == "N" else device)
        payload = pb.SparkplugPayload(timestamp=int(time.time() * 1000), seq=seq, metrics=metrics)
        self._client.publish(topic.text, payload.SerializeToString(), qos=1).wait_for_publish(5)

    def end(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@asynccontextmanager
async def foreign(port: int):
    node = Node(port)
    async with source_at(port) as source:
        await until(source, all_are(Quality.TIMEOUT))
        await asyncio.sleep(0.2)  # the subscription stands
        yield node, source
    node.end()


def aliased(alias: int, value: float, name: str = "") -> pb.SparkplugMetric:
    found = pb.SparkplugMetric(alias=alias, double_value=value, datatype=sparkplug.DOUBLE)
    if name:
        found.name = name
    return found


async def test_aliases_are_those_of_the_birth_and_what_is_not_told_stays(broker):
    """Report by exception: a metric that did not change is not sent again."""
    port, _ = broker
    async with foreign(port) as (node, source):
        node.send("NBIRTH", 0)
        node.send("DBIRTH", 1, aliased(1, 370.0, "flow_rate"), aliased(2, 1.5, "vibration_rms"))
        node.send("DDATA", 2, aliased(1, 371.0))
        pump, _ = await until(source, lambda r: r[0].metrics.get("flow_rate") == 371.0)
        assert pump.metrics == {"flow_rate": 371.0, "vibration_rms": 1.5}
        assert set(pump.quality.values()) == {Quality.STALE}  # what the birth did not name


async def test_a_lost_message_makes_stale_what_it_may_have_changed(broker):
    port, _ = broker
    async with foreign(port) as (node, source):
        node.send("NBIRTH", 0)
        node.send("DBIRTH", 1, aliased(1, 370.0, "flow_rate"), aliased(2, 1.5, "vibration_rms"))
        node.send("DDATA", 3, aliased(1, 372.0, "flow_rate"))  # 2 never came
        await until(source, all_are(Quality.STALE))
        node.send("DDATA", 4, aliased(1, 373.0, "flow_rate"))
        pump, _ = await until(source, lambda r: r[0].metrics.get("flow_rate") == 373.0)
        assert pump.metrics == {"flow_rate": 373.0}
        assert pump.quality["vibration_rms"] == Quality.STALE


async def test_an_alias_of_before_a_lost_message_names_no_tag(broker):
    """The lost one may have been a birth with other aliases: the reason says that a birth is awaited."""
    port, _ = broker
    async with foreign(port) as (node, source):
        node.send("NBIRTH", 0)
        node.send("DBIRTH", 1, aliased(1, 370.0, "flow_rate"), aliased(2, 1.5, "vibration_rms"))
        node.send("DDATA", 3, aliased(1, 1.6))
        node.send("DDATA", 4, aliased(1, 1.7))
        await until(source, lambda r: set(r[0].quality.values()) == {Quality.NO_BIRTH})
        node.send("NBIRTH", 0)
        node.send("DBIRTH", 1, aliased(1, 1.8, "vibration_rms"))
        pump, _ = await until(source, lambda r: bool(r[0].metrics))
        assert pump.metrics == {"vibration_rms": 1.8}


def test_read_says_why_a_tag_that_comes_by_alias_has_no_number(capsys):
    """And what would bring it, as the agent asks no node for its birth."""
    judged = Telemetry(
        timestamp=utc_now(),
        **PUMP._asdict(),
        metrics={},
        quality=dict.fromkeys(COMPONENTS[PUMP].tags, Quality.NO_BIRTH),
    )
    _print_table(_rows(judged, COMPONENTS[PUMP], "sparkplug_b"))
    said = capsys.readouterr().out
    assert "no_birth: no birth certificate seen yet" in said
    assert "Restart the node" in said


def test_subscriptions_are_those_of_one_node_and_none_is_shared():
    """A shared subscription would give each agent a part of the messages."""
    asked = []

    class Broker:
        def subscribe(self, topics):
            asked.extend(topics)

    source = source_at(1)
    source._on_connect(Broker(), None, None, ReasonCode(PacketTypes.CONNACK, "Success"), None)
    kinds = {"NBIRTH": "", "NDEATH": "", "DBIRTH": "/+", "DDEATH": "/+", "DDATA": "/+"}
    assert asked == [(f"spBv1.0/pm-stack-smr/{kind}/{SITE}{rest}", 1) for kind, rest in kinds.items()]


async def test_a_late_message_is_not_taken_for_the_present(broker):
    """What overtook it is newer."""
    port, _ = broker
    async with foreign(port) as (node, source):
        node.send("NBIRTH", 0)
        node.send("DBIRTH", 1, aliased(1, 370.0, "flow_rate"), aliased(2, 1.5, "vibration_rms"))
        seen = set()

        def sees(value: float) -> Callable[[list[Telemetry]], bool]:
            def holds(readings: list[Telemetry]) -> bool:
                seen.add(readings[0].metrics.get("flow_rate"))
                return value in seen

            return holds

        await until(source, sees(370.0))
        for seq, value in ((3, 372.0), (2, 371.0), (4, 373.0), (5, 374.0)):
            node.send("DDATA", seq, aliased(1, value, "flow_rate"))
            await source.read()
        await until(source, sees(374.0))
        assert 371.0 not in seen


async def test_history_is_not_taken_for_the_present(broker):
    port, _ = broker
    async with foreign(port) as (node, source):
        node.send("NBIRTH", 0)
        node.send("DBIRTH", 1, aliased(1, 370.0, "flow_rate"), aliased(2, 1.0, "vibration_rms"))
        old = aliased(1, 111.0)
        old.is_historical = True
        node.send("DDATA", 2, old, aliased(2, 2.0))
        pump, _ = await until(source, lambda r: r[0].metrics.get("vibration_rms") == 2.0)
        assert pump.metrics["flow_rate"] == 370.0


async def test_the_will_of_an_older_connection_kills_nobody(broker):
    port, _ = broker
    async with foreign(port) as (node, source):
        bd = [sparkplug.metric(sparkplug.BD_SEQ, n, 1, datatype=sparkplug.UINT64) for n in (6, 7)]
        node.send("NBIRTH", 0, bd[1])
        node.send("DBIRTH", 1, aliased(1, 370.0, "flow_rate"))
        node.send("NDEATH", 0, bd[0])
        node.send("DDATA", 2, aliased(1, 371.0))
        await until(source, lambda r: r[0].metrics.get("flow_rate") == 371.0)
        node.send("NDEATH", 0, bd[1])
        await until(source, lambda r: r[0].quality.get("flow_rate") == Quality.STALE)


async def test_a_message_that_is_none_ends_trust_in_the_numbers_before_it(broker):
    port, _ = broker
    async with foreign(port) as (node, source):
        node.send("NBIRTH", 0)
        node.send("DBIRTH", 1, aliased(1, 370.0, "flow_rate"))
        await until(source, lambda r: "flow_rate" in r[0].metrics)
        topic = sparkplug.Topic("pm-stack-smr", "DDATA", SITE, "R1:coolant_pump").text
        node._client.publish(topic, b"\xff\xff\xff", qos=1)
        await until(source, lambda r: r[0].quality.get("flow_rate") == Quality.STALE)
        for seq, value in ((9, 371.0), (10, 372.0)):
            node.send("DDATA", seq, aliased(1, value, "flow_rate"))
        await until(source, lambda r: r[0].metrics.get("flow_rate") == 372.0)


async def test_the_agent_publishes_nothing(broker):
    """Read only, on the wire; and a source that asked for a rebirth would be seen."""
    port, _ = broker

    async def follow(ask: bool) -> set[int]:
        async with MqttWire(port) as wire:
            async with source_at(wire.port) as source, plant_at(port) as plant:
                await shown(plant, source, 1)
                if ask:
                    source._client.publish("spBv1.0/pm-stack-smr/NCMD/TX01", b"").wait_for_publish(2)
            await asyncio.sleep(0.1)
            assert wire.wills == 0
        return set(wire.packets)

    assert await follow(ask=False) <= READ_ONLY
    assert PUBLISH in await follow(ask=True)


async def test_command_plays_bad_days(broker, tmp_path):
    """`edge-agent plant --bad-days SEED` over a broker: numbers come, and reasons."""
    port, _ = broker
    config, bad = tmp_path / "fleet.yaml", set()
    config.write_text(
        f"{SITE}:\n  plant: {{protocol: sparkplug_b, port: {port}, poll_period_s: 0.05, timeout_s: 0.05}}\n"
        "  R1: {coolant_pump: {}, heat_exchanger: {}}\n"
    )
    options = ["--config", str(config), "--site", SITE, "--bad-days", "7"]
    with running("edge-agent", "plant", *options):
        async with source_at(port) as source:
            await until(source, lambda readings: all(r.metrics for r in readings))
            async with asyncio.timeout(SEEN_WITHIN_S):
                while not bad:
                    bad |= {q for r in await source.read() for q in r.quality.values()}
                    await asyncio.sleep(0.01)
            await until(source, lambda readings: all(r.metrics for r in readings))


@pytest.mark.skipif(
    shutil.which("mosquitto_sub") is None, reason="mosquitto-clients is not installed; apt-get install it"
)
async def test_any_mqtt_client_can_follow_the_plant(broker):
    port, _ = broker
    command = ["mosquitto_sub", "-p", str(port), "-t", "spBv1.0/#", "-C", "3", "-W", "8", "-F", "%t"]
    listener = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    await asyncio.sleep(0.5)
    async with plant_at(port) as plant:
        show(plant, 1)
        said, _ = await asyncio.wait_for(listener.communicate(), 10)
    assert said.decode().split() == [
        "spBv1.0/pm-stack-smr/NBIRTH/TX01",
        "spBv1.0/pm-stack-smr/DBIRTH/TX01/R1:coolant_pump",
        "spBv1.0/pm-stack-smr/DBIRTH/TX01/R1:heat_exchanger",
    ]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["NBIRTH", "NDEATH", "DBIRTH", "DDEATH", "DDATA", "X"]), st.binary(max_size=80)
        )
    )
)
def test_no_bytes_break_the_source(messages):
    """Whatever comes, a poll has every component once and a number only where one was told."""
    source = source_at(1)
    for kind, body in messages:
        message = mqtt.MQTTMessage(topic=f"spBv1.0/pm-stack-smr/{kind}/TX01/R1:coolant_pump".encode())
        message.payload = body
        source._on_message(None, None, message)
    readings = asyncio.run(source.read())
    assert [r.component_id for r in readings] == list(COMPONENTS)


@pytest.mark.parametrize(
    ("datatype", "raw", "expected"),
    [
        (sparkplug.INT32, 2**32 - 5, -5.0),
        (sparkplug.UINT32, 2**32 - 5, 2.0**32 - 5),
        (sparkplug.INT8, 7, 7.0),
    ],
)
def test_signed_numbers_travel_in_twos_complement(datatype, raw, expected):
    found = pb.SparkplugMetric(name="a", datatype=datatype, int_value=raw)
    assert sparkplug.number(found) == expected


def test_a_topic_of_something_else_is_named():
    with pytest.raises(Rejected, match=r"is not spBv1\.0/group/kind/node"):
        sparkplug.Topic.parse("homeassistant/sensor")
