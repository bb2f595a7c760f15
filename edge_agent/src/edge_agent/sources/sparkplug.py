"""A site's devices over MQTT Sparkplug B, read only: CONNECT, SUBSCRIBE and keep-alives, nothing else.

A host that also writes would ask a node for its birth certificate (NCMD). This one never publishes: a node
that was born before the agent came is read by the names in its data; metrics that come by alias alone
have no number until the node's next birth.
"""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.sources.base import judged
from shared import sparkplug
from shared.errors import Rejected
from shared.reactor_config import Component, Plant
from shared.schemas import ComponentId, Quality, Telemetry, utc_now
from shared.wire import sparkplug_b_pb2 as pb

KEEPALIVE_S = 10  # a broker that is silent for longer counts as gone
RECONNECT_MAX_S = 5
CYCLE_MAX = 2**53  # beyond it a double no longer counts by ones
KINDS = ("NBIRTH", "NDEATH", "DBIRTH", "DDEATH", "DDATA")

log = structlog.get_logger()


@dataclass
class _Device:
    """What a component last said; `why` is the quality of a tag that has no number."""

    component: Component
    why: Quality = Quality.DISCONNECTED
    cycle: int | None = None
    at: datetime | None = None
    numbers: dict[str, float | Quality] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)  # by alias, from the birth certificate
    datatypes: dict[str, int] = field(default_factory=dict)

    def forget(self, why: Quality) -> None:
        """No number of before counts any more."""
        self.why, self.cycle = why, None
        self.numbers.clear()

    def take(self, payload: pb.SparkplugPayload, born: bool) -> None:
        """Metrics that are not in a message keep their value: Sparkplug reports by exception."""
        self.at = sparkplug.source_time(payload)
        for found in payload.metrics:
            if born:
                self.datatypes[found.name] = found.datatype
                if found.HasField("alias"):
                    self.names[found.alias] = found.name
            if not found.name and found.HasField("alias"):
                found.name = self.names.get(found.alias, "")
            if not found.is_historical:
                self._take_metric(found)

    def _take_metric(self, found: pb.SparkplugMetric) -> None:
        value = sparkplug.number(found, self.datatypes)
        if found.name == sparkplug.CYCLE:
            self.cycle = int(value) if value is not None and 0 <= value <= CYCLE_MAX else None
        elif found.name in self.component.tags:
            self.numbers[found.name] = Quality.NOT_A_NUMBER if value is None else value

    def reading(self, component_id: ComponentId) -> Telemetry:
        read = {tag: self.numbers.get(tag, self.why) for tag in self.component.tags}
        at = self.at if self.numbers and self.at else utc_now()
        return judged(component_id, self.component, at, self.cycle, read)


class SparkplugSource:
    """Follows one edge node; a poll gives each device as it last was, or why it cannot be known."""

    def __init__(self, site_id: str, plant: Plant, components: Mapping[ComponentId, Component]) -> None:
        self._plant, self._site_id = plant, site_id
        self._lock = threading.Lock()  # paho's thread writes what `read` reads
        self._devices = {component_id: _Device(c) for component_id, c in components.items()}
        self._by_name = {sparkplug.device(i): found for i, found in self._devices.items()}
        self._seq: int | None = None
        self._bd_seq: float | None = None
        self._client = self._new_client()

    async def __aenter__(self) -> Self:
        self._client.connect_async(self._plant.host, self._plant.port, KEEPALIVE_S)
        self._client.loop_start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    async def read(self) -> list[Telemetry]:
        """One poll. It waits for nothing: the node's messages have come, or have not."""
        with self._lock:
            return [found.reading(component_id) for component_id, found in self._devices.items()]

    def _new_client(self) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, clean_session=True)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_message = self._on_message
        client.reconnect_delay_set(1, RECONNECT_MAX_S)
        return client

    def _on_connect(
        self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            log.warning("MQTT broker refuses this agent", reason=str(reason))
            return
        self._forget(Quality.TIMEOUT)  # connected, and nothing heard yet
        topic, node = self._plant.group, self._site_id
        client.subscribe(
            [(sparkplug.Topic(topic, kind, node, "+" if kind[0] == "D" else "").text, 1) for kind in KINDS]
        )

    def _on_disconnect(self, *_: Any) -> None:
        self._forget(Quality.DISCONNECTED)

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        try:
            topic, payload = sparkplug.Topic.parse(message.topic), sparkplug.parse(bytes(message.payload))
            with self._lock:
                self._take(topic, payload)
        except Rejected as error:
            log.warning("message not understood; no number of before counts", reason=str(error))
            self._forget(Quality.STALE)

    def _take(self, topic: sparkplug.Topic, payload: pb.SparkplugPayload) -> None:
        if topic.kind == "NDEATH":
            if self._bd_seq in (None, _bd_seq(payload)):  # else the will of a connection before this one
                self._lost(Quality.STALE)
            return
        if topic.kind == "NBIRTH":
            self._bd_seq = _bd_seq(payload)
            self._lost(Quality.STALE)
        elif self._seq is not None and payload.seq != self._seq:
            self._lost(Quality.STALE)  # a message is missing: what it said is not known
        self._seq = (payload.seq + 1) % sparkplug.SEQ_MODULUS
        found = self._by_name.get(topic.device)
        if found is not None:
            if topic.kind in ("DBIRTH", "DDEATH"):
                found.forget(Quality.STALE)
            if topic.kind in ("DBIRTH", "DDATA"):
                found.take(payload, born=topic.kind == "DBIRTH")

    def _forget(self, why: Quality) -> None:
        with self._lock:
            self._lost(why)

    def _lost(self, why: Quality) -> None:
        self._seq = None
        for found in self._devices.values():
            found.forget(why)


def _bd_seq(payload: pb.SparkplugPayload) -> float | None:
    return next((sparkplug.number(m, {}) for m in payload.metrics if m.name == sparkplug.BD_SEQ), None)
