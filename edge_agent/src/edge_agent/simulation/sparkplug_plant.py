"""The plant as a Sparkplug B edge node: it publishes to an MQTT broker, each component a device.

Births when it connects, data at each cycle, a death certificate as its last will. It takes one command,
the specification's request for a rebirth, and no other.
"""

import asyncio
import math
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from shared import mqtt_access, sparkplug
from shared.errors import Rejected, Retryable
from shared.listen import require_loopback
from shared.modbus_registers import as_read
from shared.plant_config import Plant
from shared.reactor_config import Component
from shared.schemas import ComponentId
from shared.wire import sparkplug_b_pb2 as pb

CONNECT_DEADLINE_S = 5.0
KEEPALIVE_S = 10  # the broker tells the node's death after one and a half of it


class SparkplugPlant:
    """Publishes what `show` is given."""

    protocol = "MQTT Sparkplug B by the broker"

    def __init__(self, site_id: str, plant: Plant, components: Mapping[ComponentId, Component]) -> None:
        self.host, self.port = plant.host, plant.port
        self.components = dict(components)
        self._plant, self._site_id = plant, site_id
        self._refusal = ""
        self._lock = threading.Lock()  # `show` and paho's thread share what follows
        self._shown: dict[ComponentId, tuple[int, Mapping[str, float]]] = {}
        self._seq = 0
        self._bd_seq = int(time.time()) % sparkplug.SEQ_MODULUS  # another one at each start
        self._born = False
        self._client = self._new_client()

    async def __aenter__(self) -> Self:
        """Connect; Retryable when the broker is away, refuses or cannot be trusted.

        ConfigError for a file or secret that is not usable, and beyond loopback without TLS and login.
        """
        plant = self._plant
        if plant.tls is None or (plant.login is None and plant.tls.certificate_file is None):
            require_loopback(self.host, "plant.host")
        mqtt_access.equip(self._client, plant.tls, plant.login)
        try:
            self._client.connect(self.host, self.port, KEEPALIVE_S)
        except OSError as error:
            raise Retryable(mqtt_access.remedy(error, plant)) from error
        self._client.loop_start()
        deadline = time.monotonic() + CONNECT_DEADLINE_S
        while not self._born:
            if self._refusal or time.monotonic() > deadline:
                await asyncio.to_thread(mqtt_access.end, self._client)
                raise Retryable(self._refusal or mqtt_access.hung_up(plant))
            await asyncio.sleep(0.01)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:  # a clean end sends no last will
            self._client.publish(self._topic("NDEATH").text, self._death(), qos=1)
        await asyncio.to_thread(mqtt_access.end, self._client)

    def show(self, component_id: ComponentId, cycle: int, values: Mapping[str, float]) -> None:
        """Publish a component's cycle: its birth the first time, then data. A tag left out is null."""
        with self._lock:
            kind = "DDATA" if component_id in self._shown else "DBIRTH"
            self._shown[component_id] = cycle, values
            if self._born:
                self._tell(kind, component_id)

    def _new_client(self) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, f"plant-{self._site_id}", clean_session=True)
        client.on_pre_connect, client.on_disconnect = self._on_pre_connect, self._on_disconnect
        client.on_connect = self._on_connect
        client.on_message = self._on_command
        client.reconnect_delay_set(1, 5)
        return client

    def _topic(self, kind: str, device: str = "") -> sparkplug.Topic:
        return sparkplug.Topic(self._plant.group, kind, self._site_id, device)

    def _death(self) -> bytes:
        """A death certificate has no `seq`."""
        payload = pb.SparkplugPayload(timestamp=_now_ms())
        payload.metrics.append(self._number(sparkplug.BD_SEQ, self._bd_seq))
        return bytes(payload.SerializeToString())

    @staticmethod
    def _number(name: str, value: int) -> pb.SparkplugMetric:
        return sparkplug.metric(name, value, _now_ms(), datatype=sparkplug.UINT64)

    def _on_pre_connect(self, client: mqtt.Client, _data: Any) -> None:
        """Each connection has a death certificate of its own, so that a late one kills no other."""
        with self._lock:
            self._bd_seq = (self._bd_seq + 1) % sparkplug.SEQ_MODULUS
            client.will_set(self._topic("NDEATH").text, self._death(), qos=1)

    def _on_disconnect(self, *_: Any) -> None:
        with self._lock:
            if not self._born and not self._refusal:
                self._refusal = mqtt_access.hung_up(self._plant)
            self._born = False

    def _on_connect(
        self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._refusal = mqtt_access.refusal(str(reason), self._plant)
        else:
            client.subscribe(self._topic("NCMD").text, qos=1)
            with self._lock:
                self._give_birth()

    def _on_command(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        try:
            asked = [m.name for m in sparkplug.parse(bytes(message.payload)).metrics if m.boolean_value]
        except Rejected:
            return  # not for us
        if sparkplug.REBIRTH in asked:
            with self._lock:
                self._give_birth()

    def _give_birth(self) -> None:
        self._seq = 0
        control = pb.SparkplugMetric(
            name=sparkplug.REBIRTH, timestamp=_now_ms(), datatype=sparkplug.BOOLEAN, boolean_value=False
        )
        self._publish(self._topic("NBIRTH"), [self._number(sparkplug.BD_SEQ, self._bd_seq), control])
        for component_id in self._shown:
            self._tell("DBIRTH", component_id)
        self._born = True

    def _tell(self, kind: str, component_id: ComponentId) -> None:
        self._publish(self._topic(kind, sparkplug.device(component_id)), self._metrics(kind, component_id))

    def _metrics(self, kind: str, component_id: ComponentId) -> list[pb.SparkplugMetric]:
        cycle, values = self._shown[component_id]
        component, now_ms = self.components[component_id], _now_ms()
        metrics = [self._number(sparkplug.CYCLE, cycle)]
        for tag in component.tags:
            value = values.get(tag, math.nan)
            if math.isfinite(value):  # as its register would hold it: the ledger speaks of every protocol
                value = as_read(component.tags[tag].register_, value)
            found = sparkplug.metric(tag, value, now_ms)
            if kind == "DBIRTH":
                found.properties.keys.append("engUnit")
                found.properties.values.add(type=sparkplug.STRING, string_value=component.tags[tag].unit)
            metrics.append(found)
        return metrics

    def _publish(self, topic: sparkplug.Topic, metrics: list[pb.SparkplugMetric]) -> None:
        payload = pb.SparkplugPayload(timestamp=_now_ms(), seq=self._seq, metrics=metrics)
        self._seq = (self._seq + 1) % sparkplug.SEQ_MODULUS
        self._send(topic, payload.SerializeToString())

    def _send(self, topic: sparkplug.Topic, body: bytes) -> None:
        self._client.publish(topic.text, body, qos=0)


def _now_ms() -> int:
    return int(time.time() * 1000)
