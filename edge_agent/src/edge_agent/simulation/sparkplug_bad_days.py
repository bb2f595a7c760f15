"""A Sparkplug B edge node on which things go wrong: for tests and demonstrations.

Enters: a plant's cycles. Leaves: its messages, or what a bad day makes of them; which have one, and which
one, is drawn from a seed. It reports by exception, and by alias where it is told to. It never alters a
number within a message that is whole: Sparkplug has no checksum, so no reader could tell.
"""

import random
import socket
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final

from edge_agent.simulation.sparkplug_plant import SparkplugPlant
from shared import sparkplug
from shared.plant_config import Plant
from shared.reactor_config import Component
from shared.schemas import ComponentId
from shared.wire import sparkplug_b_pb2 as pb

BAD_SHARE = 0.1  # of the data messages
HELD_MAX = 4  # messages that a delay keeps back
SILENT_MAX = 8  # cycles that a device or a dead node says nothing; the agent's guard bears 5
OLD_MS = 3_600_000  # how far back an out-of-date timestamp lies
UNKNOWN_ALIAS = 1_000_000  # more than a device has metrics


class MessageDay(StrEnum):
    """What may happen to one data message."""

    LOST = "lost"
    DELAYED = "delayed"  # and all that follow with it
    TWICE = "twice"
    OVERTAKEN = "overtaken"  # by the next message
    CUT_OFF = "cut off"
    GARBAGE = "garbage"
    NULL = "null"
    BAD_QUALITY = "quality 0"
    STALE_QUALITY = "quality 500"
    HISTORICAL = "historical"
    UNKNOWN_ALIAS = "unknown alias"
    OTHER_DATATYPE = "other datatype"
    OLD_TIMESTAMP = "old timestamp"
    SILENCE = "silence"
    DEVICE_DEATH = "device death"
    NODE_DEATH = "node death"
    REBIRTH = "rebirth"  # with other aliases
    OLD_DEATH = "death of an older connection"
    CONNECTION_LOST = "connection lost"


_OF_ONE_METRIC: Final = {
    MessageDay.NULL,
    MessageDay.BAD_QUALITY,
    MessageDay.STALE_QUALITY,
    MessageDay.HISTORICAL,
    MessageDay.UNKNOWN_ALIAS,
    MessageDay.OTHER_DATATYPE,
}


class SparkplugBadDays(SparkplugPlant):
    """Publishes what `show` is given, most of it unharmed; `happened` counts the bad days."""

    share_text = f"one message in {1 / BAD_SHARE:.0f}"

    def __init__(
        self,
        site_id: str,
        plant: Plant,
        components: Mapping[ComponentId, Component],
        seed: int,
        *,
        share: float = BAD_SHARE,
        aliased: bool = False,
    ) -> None:
        super().__init__(site_id, plant, components)
        self.share, self._aliased = share, aliased
        self._random = random.Random(seed)  # noqa: S311 - not a secret
        self.happened: Counter[MessageDay] = Counter()
        self._told: dict[ComponentId, dict[str, float]] = {i: {} for i in self.components}
        self._aliases: dict[ComponentId, dict[str, int]] = {i: {} for i in self.components}
        self._before: dict[ComponentId, list[pb.SparkplugMetric]] = {}  # what was told last
        self._silent: Counter[ComponentId] = Counter()  # cycles left to say nothing
        self._dead: set[ComponentId] = set()
        self._node_silent = 0  # data messages that a dead node leaves out
        self._day: MessageDay | None = None  # of the bytes that are sent next
        self._held: list[tuple[sparkplug.Topic, bytes]] = []
        self._holding = 0
        self._late: tuple[sparkplug.Topic, bytes] | None = None

    def _on_disconnect(self, *args: Any) -> None:
        super()._on_disconnect(*args)
        with self._lock:
            self._held, self._holding, self._late = [], 0, None

    def _give_birth(self) -> None:
        self._node_silent = 0
        super()._give_birth()

    def _tell(self, kind: str, component_id: ComponentId) -> None:
        if kind == "DBIRTH":
            self._silent[component_id] = 0
            self._dead.discard(component_id)
            super()._tell(kind, component_id)
        elif self._node_silent > 0:
            self._node_silent -= 1
            if not self._node_silent:
                self._give_birth()
        elif self._silent[component_id] > 0:
            self._silent[component_id] -= 1
        elif component_id in self._dead:
            self._tell("DBIRTH", component_id)
        else:
            self._tell_on(self._draw(), component_id)

    def _tell_on(self, day: MessageDay | None, component_id: ComponentId) -> None:
        cycles = self._random.randint(1, SILENT_MAX)
        match day:
            case MessageDay.SILENCE:
                self._silent[component_id] = cycles - 1
            case MessageDay.DEVICE_DEATH:
                self._silent[component_id] = cycles - 1
                self._dead.add(component_id)
                self._publish(self._topic("DDEATH", sparkplug.device(component_id)), [])
            case MessageDay.NODE_DEATH:
                self._node_silent = cycles * len(self.components)
                self._send(self._topic("NDEATH"), self._death())
            case MessageDay.REBIRTH:
                self._give_birth()
            case MessageDay.CONNECTION_LOST:
                self._hang_up()
            case _:
                self._tell_data(day, component_id)

    def _tell_data(self, day: MessageDay | None, component_id: ComponentId) -> None:
        if day is MessageDay.OLD_DEATH:
            self._send(self._topic("NDEATH"), self._older_death())
        metrics = self._metrics("DDATA", component_id)
        if day in _OF_ONE_METRIC and len(metrics) > 1:
            self._spoil(day, component_id, metrics)
        if day is MessageDay.OLD_TIMESTAMP and component_id in self._before:
            self._told[component_id].clear()  # none of it has been told
            metrics = self._before[component_id]
        self._before[component_id] = metrics
        self._day = day
        self._publish(self._topic("DDATA", sparkplug.device(component_id)), metrics)
        self._day = None

    def _draw(self) -> MessageDay | None:
        if self._random.random() >= self.share:
            return None
        day = self._random.choice(list(MessageDay))
        self.happened[day] += 1
        return day

    def _hang_up(self) -> None:
        """Without a farewell: the broker publishes the death certificate."""
        connection = self._client.socket()
        if isinstance(connection, socket.socket):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _older_death(self) -> bytes:
        payload = pb.SparkplugPayload.FromString(self._death())
        payload.metrics[0].long_value = (self._bd_seq - 1) % sparkplug.SEQ_MODULUS
        return bytes(payload.SerializeToString())

    def _metrics(self, kind: str, component_id: ComponentId) -> list[pb.SparkplugMetric]:
        """Data has what changed since it was told, and the cycle."""
        metrics, told = super()._metrics(kind, component_id), self._told[component_id]
        if kind == "DBIRTH":
            told.clear()
            self._before.pop(component_id, None)
            numbers = self._random.sample(range(len(metrics)), len(metrics))
            self._aliases[component_id] = {m.name: n for m, n in zip(metrics, numbers, strict=True)}
        changed = [m for m in metrics if m.is_null or told.get(m.name) != m.double_value]
        told.update({m.name: m.double_value for m in changed if m.HasField("double_value")})
        if self._aliased:
            for found in changed:
                found.alias = self._aliases[component_id][found.name]
                if kind == "DDATA":
                    found.ClearField("name")
                    found.ClearField("datatype")
        return changed

    def _spoil(
        self, day: MessageDay | None, component_id: ComponentId, metrics: list[pb.SparkplugMetric]
    ) -> None:
        """Make one metric, or a further one, say what must not be taken for its number."""
        found = self._random.choice(metrics[1:])  # not the cycle
        self._told[component_id].clear()  # tell all of them again
        match day:
            case MessageDay.NULL:
                found.ClearField("value")
                found.is_null = True
            case MessageDay.BAD_QUALITY | MessageDay.STALE_QUALITY:
                found.double_value += 1
                quality = sparkplug.BAD if day is MessageDay.BAD_QUALITY else sparkplug.STALE
                found.properties.values[0].int_value = quality
            case MessageDay.HISTORICAL:
                metrics.append(pb.SparkplugMetric.FromString(found.SerializeToString()))
                metrics[-1].double_value += 1
                metrics[-1].is_historical = True
            case MessageDay.UNKNOWN_ALIAS:
                found.ClearField("name")
                found.alias = UNKNOWN_ALIAS
            case MessageDay.OTHER_DATATYPE:
                found.datatype = self._random.choice([sparkplug.DOUBLE, sparkplug.STRING])
                found.long_value = 1

    def _send(self, topic: sparkplug.Topic, body: bytes) -> None:
        day = self._day
        if day is MessageDay.OLD_TIMESTAMP:
            payload = pb.SparkplugPayload.FromString(body)
            payload.timestamp -= OLD_MS
            body = payload.SerializeToString()
        if day is MessageDay.DELAYED:
            self._holding = self._random.randint(1, HELD_MAX)
        bodies = [] if day is MessageDay.LOST else [self._broken(day, body)]
        messages = [(topic, found) for found in bodies * (2 if day is MessageDay.TWICE else 1)]
        late, self._late = self._late, None
        if day is MessageDay.OVERTAKEN:
            self._late = messages.pop()
        self._held += [*messages, *([late] if late else [])]
        if self._holding > 0:
            self._holding -= 1
            return
        for held, said in self._held:
            super()._send(held, said)
        self._held.clear()

    def _broken(self, day: MessageDay | None, body: bytes) -> bytes:
        """Cut off, or bytes of no message: field 0 does not exist in protobuf."""
        if day is MessageDay.CUT_OFF:
            return body[: self._random.randrange(len(body))]
        if day is MessageDay.GARBAGE:
            return b"\0" + self._random.randbytes(self._random.randrange(8, 64))
        return body
