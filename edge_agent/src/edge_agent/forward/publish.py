"""A simulator straight to Kafka (PRD 2.2): for a trial without a plant, an agent or an outbox."""

import time
from collections.abc import Mapping
from hashlib import sha256
from itertools import count
from typing import Any, Protocol
from uuid import uuid4

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from edge_agent.forward.settings import producer_config
from edge_agent.sources.base import judged
from shared.envelope import headers
from shared.errors import Retryable
from shared.reactor_config import Component
from shared.schemas import ComponentId, Outgoing, Telemetry, utc_now

FLUSH_DEADLINE_S = 30.0  # at the end, for what is still on its way
FULL_WAIT_S = 0.5  # between tries while librdkafka's queue is full

log = structlog.get_logger()


class Simulated(Protocol):
    """A `ReactorSimulator`, or one component of a simulated reactor."""

    component_id: ComponentId
    config: Component

    def simulate_cycle(self) -> dict[str, Any]: ...


def publish_telemetry(
    simulator: Simulated,
    topic: str,
    interval_sec: float,
    *,
    bootstrap: str = "127.0.0.1:9092",
    cycles: int | None = None,
    client: Mapping[str, str] | None = None,
) -> int:
    """Publish a cycle every `interval_sec` seconds, for ever or `cycles` times; the number delivered.

    Each message is a validated telemetry record (PRD 2.2's JSON) under the key site/reactor/component, with
    the headers of one from a site: the centre takes it as such. Kafka away: tried again until it is back.
    Retryable when something was refused, or is not delivered 30 s after the last cycle. What is not
    delivered dies with the process; `edge-agent run` loses nothing.
    """
    publisher = _Publisher(simulator, topic, bootstrap, client or {})
    due = time.monotonic()
    try:
        for seq in count(1) if cycles is None else range(1, cycles + 1):
            publisher.send(_reading(simulator), seq)
            due += interval_sec
            publisher.wait_until(due)
    finally:
        left = publisher.flush()
    if left or publisher.refused:
        raise Retryable(
            f"{topic} at {bootstrap}: {publisher.refused} records refused, {left} not taken in time; "
            f"last reason: {publisher.reason}"
        )
    return publisher.delivered


def _reading(simulator: Simulated) -> Telemetry:
    row = simulator.simulate_cycle()
    return judged(simulator.component_id, simulator.config, utc_now(), row["cycle"], row)


class _Publisher:
    """One producer, and what became of its records."""

    def __init__(self, simulator: Simulated, topic: str, bootstrap: str, client: Mapping[str, str]) -> None:
        self._topic, self._store_id = topic, str(uuid4())
        self._config_hash = sha256(simulator.config.model_dump_json().encode()).hexdigest()
        settings = producer_config(bootstrap, simulator.component_id.site_id, client)
        self._producer = Producer(settings | {"error_cb": self._on_error, "log_level": 0})
        self.delivered = self.refused = 0
        self.reason: str | None = None

    def send(self, reading: Telemetry, seq: int) -> None:
        """Queue the record; waits while the queue is full."""
        record = reading.outgoing()
        while not self._queued(record, seq):
            self._producer.poll(FULL_WAIT_S)

    def _queued(self, record: Outgoing, seq: int) -> bool:
        marks = headers(record, self._store_id, seq, self._config_hash)
        try:
            self._producer.produce(
                self._topic, record.body, record.key, timestamp=record.time_ms, headers=marks,
                on_delivery=self._reported,
            )  # fmt: skip
        except BufferError:
            return False
        except KafkaException as error:
            raise Retryable(f"{self._topic}: {error.args[0].str()}") from error
        return True

    def wait_until(self, due: float) -> None:
        """Hear reports until then (monotonic seconds)."""
        while (left := due - time.monotonic()) > 0:
            self._producer.poll(left)

    def flush(self) -> int:
        """Wait for what is on its way; how many records are left."""
        return int(self._producer.flush(FLUSH_DEADLINE_S))

    def _reported(self, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self.delivered += 1
        else:
            self.refused += 1
            self._on_error(error)

    def _on_error(self, error: KafkaError) -> None:
        if error.str() != self.reason:
            self.reason = error.str()
            log.warning("not delivered yet", topic=self._topic, reason=self.reason)
