"""A site's devices over MQTT Sparkplug B, read only: CONNECT, SUBSCRIBE and keep-alives, nothing else.

A host that also writes would ask a node for its birth certificate (NCMD) and tell its own state (STATE).
This one never publishes: a node that was born before the agent came, or of which a message was lost, is read
by the names in its data; metrics that come by alias alone have no number until the node's next birth.

A message out of its sequence is no reading but a sign that one is missing, or that this one is late: it
ends trust in what was said before it, and the next one in sequence is taken again. So a single late message
never counts. What nobody can see: that the last message was lost and nothing came after it, for a node
reports by exception; the cycle counter, where there is one, tells it.
"""

import asyncio
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.sources.base import judged
from shared import mqtt_access, sparkplug
from shared.errors import Rejected
from shared.plant_config import Plant
from shared.reactor_config import Component
from shared.schemas import ComponentId, Quality, Telemetry, utc_now
from shared.wire import sparkplug_b_pb2 as pb

KEEPALIVE_S = 10  # a broker that is silent for longer counts as gone
RECONNECT_MAX_S = 5
CYCLE_MAX = 2**53  # beyond it a double no longer counts by ones
BEHIND_MAX = timedelta(seconds=10)  # what a node's clock may be set back; further back, it says what was
NO_SEQ = -1  # continues nothing
KINDS = ("NBIRTH", "NDEATH", "DBIRTH", "DDEATH", "DDATA")

log = structlog.get_logger()


@dataclass
class _Device:
    """What a component last said; `why` is the quality of a tag that has no number."""

    component: Component
    why: Quality = Quality.DISCONNECTED
    cycle: int | None = None
    at: datetime | None = None
    born: bool = False
    numbers: dict[str, float | Quality] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)  # by alias, from the birth certificate
    datatypes: dict[str, int] = field(default_factory=dict)

    def forget(self, why: Quality) -> None:
        """No number of before counts any more."""
        self.why, self.cycle = why, None
        self.numbers.clear()

    def lose(self, why: Quality) -> None:
        """Nor does what its birth said: another birth may have been missed, with other aliases."""
        self.forget(why)
        self.born = False
        self.names.clear()
        self.datatypes.clear()

    def be_born(self, payload: pb.SparkplugPayload) -> None:
        """A birth certificate: names, aliases and datatypes, and the first numbers."""
        self.lose(Quality.STALE)
        self.at, self.born = None, True
        for found in payload.metrics:
            self.datatypes[found.name] = found.datatype
            if found.HasField("alias"):
                self.names[found.alias] = found.name
        self.take(payload)

    def take(self, payload: pb.SparkplugPayload) -> None:
        """Metrics that are not in a message keep their value: Sparkplug reports by exception."""
        at = sparkplug.source_time(payload)
        if self.at is not None and at < self.at and utc_now() - at > BEHIND_MAX:
            self.forget(Quality.STALE)  # a replay that is not marked as one, or a clock set back
            return
        self.at = at
        present = [found for found in payload.metrics if not found.is_historical]
        names = [found.name or self.names.get(found.alias, "") for found in present]
        if "" in names:  # it may be any tag's, whose number of before is old now
            self.forget(Quality.STALE if self.born else Quality.NO_BIRTH)
        for name, found in zip(names, present, strict=True):
            self._take_metric(name, found)

    def _take_metric(self, name: str, found: pb.SparkplugMetric) -> None:
        value = sparkplug.number(found, self.datatypes.get(name, 0))
        if name == sparkplug.CYCLE:
            self.cycle = int(value) if value is not None and 0 <= value <= CYCLE_MAX else None
        elif name in self.component.tags:
            stale = sparkplug.quality(found) == sparkplug.STALE
            why = Quality.STALE if stale else Quality.NOT_A_NUMBER
            self.numbers[name] = why if value is None else value

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
        self._next: int | None = None  # the `seq` that continues; None: whichever comes first
        self._bd_seq: float | None = None  # of the session; None: not known, so any death counts
        self._answered, self._warned = False, ""  # by the broker, in this connection; the last warning
        self._last = ("", b"")  # topic and body of the last message
        self._client = self._new_client()

    async def __aenter__(self) -> Self:
        """ConfigError when a certificate or a password that the configuration names is not usable."""
        mqtt_access.equip(self._client, self._plant.tls, self._plant.login)
        self._client.connect_async(self._plant.host, self._plant.port, KEEPALIVE_S)
        self._client.loop_start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(mqtt_access.end, self._client)

    async def read(self) -> list[Telemetry]:
        """One poll. It waits for nothing: the node's messages have come, or have not."""
        with self._lock:
            return [found.reading(component_id) for component_id, found in self._devices.items()]

    def _new_client(self) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, clean_session=True)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_message, client.on_connect_fail = self._on_message, self._on_connect_fail
        client.reconnect_delay_set(1, RECONNECT_MAX_S)
        return client

    def _on_connect(
        self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._warn(mqtt_access.refusal(str(reason), self._plant))
            return
        self._answered, self._warned = True, ""
        self._forget(Quality.TIMEOUT, None)  # connected, and nothing heard yet
        topic, node = self._plant.group, self._site_id
        client.subscribe(
            [(sparkplug.Topic(topic, kind, node, "+" if kind[0] == "D" else "").text, 1) for kind in KINDS]
        )

    def _on_disconnect(self, *_: Any) -> None:
        self._forget(Quality.DISCONNECTED, None)
        if not self._answered and not self._warned:
            self._warn(mqtt_access.hung_up(self._plant))
        self._answered = False

    def _on_connect_fail(self, *_: Any) -> None:
        error = sys.exception()  # paho calls this while it handles it
        if error is not None:
            self._warn(mqtt_access.remedy(error, self._plant))

    def _warn(self, reason: str) -> None:
        """Once, though the client tries again and again."""
        if reason != self._warned:
            self._warned = reason
            log.warning("plant cannot be read", reason=reason)

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        last, self._last = self._last, (message.topic, bytes(message.payload))
        if self._last == last:
            return  # came twice
        try:
            topic, payload = sparkplug.Topic.parse(message.topic), sparkplug.parse(self._last[1])
            with self._lock:
                self._take(topic, payload)
        except Rejected as error:
            log.warning("message not understood; no number of before counts", reason=str(error))
            self._forget(Quality.STALE, NO_SEQ)

    def _take(self, topic: sparkplug.Topic, payload: pb.SparkplugPayload) -> None:
        if topic.kind == "NDEATH":
            self._take_death(_bd_seq(payload))
            return
        seq = sparkplug.sequence(payload)
        continues = topic.kind == "NBIRTH" or self._next in {None, seq}
        if topic.kind == "NBIRTH" or not continues:
            self._lose(Quality.STALE, seq)
        self._next = (seq + 1) % sparkplug.SEQ_MODULUS
        if topic.kind == "NBIRTH":
            self._bd_seq = _bd_seq(payload)
        found = self._by_name.get(topic.device)
        if found is not None and continues:
            self._take_device(topic.kind, found, payload)

    def _take_death(self, bd_seq: float | None) -> None:
        if bd_seq is None or self._bd_seq in {None, bd_seq}:  # else the will of a connection before this one
            self._lose(Quality.STALE, NO_SEQ)

    def _take_device(self, kind: str, found: _Device, payload: pb.SparkplugPayload) -> None:
        if kind == "DBIRTH":
            if found.born:
                self._bd_seq = None  # its node's birth may be missing: whose death comes next is not known
            found.be_born(payload)
        elif kind == "DDEATH":
            found.lose(Quality.STALE)
        elif kind == "DDATA":
            found.take(payload)

    def _forget(self, why: Quality, seq: int | None) -> None:
        with self._lock:
            self._lose(why, seq)

    def _lose(self, why: Quality, seq: int | None) -> None:
        """Nothing is known of the node but which message may come next."""
        self._next, self._bd_seq = seq, None
        for found in self._devices.values():
            found.lose(why)


def _bd_seq(payload: pb.SparkplugPayload) -> float | None:
    return next((sparkplug.number(m) for m in payload.metrics if m.name == sparkplug.BD_SEQ), None)
