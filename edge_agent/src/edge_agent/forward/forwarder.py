"""The forwarder's loop. It has a thread of its own: librdkafka's calls may block."""

import math
import threading
import time
from collections.abc import Sequence
from typing import Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from edge_agent.forward.config_marks import ConfigMarks
from shared.envelope import headers
from shared.schemas import DLQ_SUFFIX, TOPIC_BY_SCHEMA, Outgoing

IN_FLIGHT_ROWS_MAX = 5_000  # bounds memory while Kafka is slow
BATCH_ROWS_MAX = 500  # rows read from the outbox at a time
IDLE_WAIT_S = 0.1  # between looks at an empty outbox
RESTART_WAIT_S = 1.0  # after a fatal producer error, before a new producer
_POISON = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD}

log = structlog.get_logger()


class PendingRow(Protocol):
    """A committed record and its row number."""

    @property
    def seq(self) -> int: ...
    @property
    def record(self) -> Outgoing: ...


class Backlog(Protocol):
    """What the forwarder needs of the outbox; both calls block."""

    @property
    def store_id(self) -> str: ...
    def pending(self, after_seq: int, limit: int) -> Sequence[PendingRow]: ...
    def acknowledge(self, seqs: Sequence[int]) -> None: ...


def producer_config(bootstrap: str, site: str) -> dict[str, str | int | bool]:
    """librdkafka settings: every in-sync replica acknowledges, no repeats, order kept, no time limit.

    A message waits for the broker for ever (`message.timeout.ms=0`): the outbox, not librdkafka,
    decides what is given up.
    """
    return {
        "bootstrap.servers": bootstrap,
        "client.id": f"edge-agent-{site}",
        "acks": "all",
        "enable.idempotence": True,
        "message.timeout.ms": 0,
        "linger.ms": 20,
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 5_000,
        "compression.type": "lz4",
    }


class Forwarder:
    """Sends what the backlog holds; `run` is given a thread of its own."""

    def __init__(self, backlog: Backlog, bootstrap: str, site: str, config_hash: str) -> None:
        self._backlog = backlog
        self._settings = producer_config(bootstrap, site)
        self._configs = ConfigMarks(config_hash)
        self._acked: list[int] = []
        self._in_flight = 0
        self._sent_to = 0
        self._broken = False
        self.delivered = 0
        self.dead_lettered = 0

    def config_changes(self, after_seq: int, config_hash: str) -> None:
        """Rows after this one are made under another configuration: their header says so."""
        self._configs.change(self._backlog.store_id, after_seq, config_hash)

    def run(self, stop: threading.Event, drain_deadline_s: float) -> bool:
        """Forward until `stop`, then drain; True when nothing was left within the deadline."""
        deadline = _DeadlineAfter(stop, drain_deadline_s)
        while not deadline.passed():
            producer = Producer(self._settings | {"error_cb": self._on_error}, logger=_QuietLog())
            self._sent_to, self._in_flight, self._broken = 0, 0, False
            drained = self._run_producer(producer, stop, deadline)
            producer.purge()
            if drained:
                return True
            if self._broken:
                log.warning("producer restarted after a fatal error", sent_to=self._sent_to)
                stop.wait(RESTART_WAIT_S)
        return False

    def _run_producer(self, producer: Producer, stop: threading.Event, deadline: "_DeadlineAfter") -> bool:
        """True when nothing is left after `stop`; False when the producer broke or the deadline passed."""
        while not self._broken and not deadline.passed():
            last_look = stop.is_set()  # asked before the look: what was committed until then is seen by it
            sent = self._send_some(producer)
            producer.poll(0 if sent else IDLE_WAIT_S)
            self._settle()
            if last_look and not sent and not self._in_flight:
                return True
        return False

    def _send_some(self, producer: Producer) -> int:
        room = min(BATCH_ROWS_MAX, IN_FLIGHT_ROWS_MAX - self._in_flight)
        rows = self._backlog.pending(self._sent_to, room) if room > 0 else []
        for row in rows:
            self._produce(producer, row.seq, row.record, TOPIC_BY_SCHEMA[row.record.schema])
            self._sent_to = row.seq
        return len(rows)

    def _produce(
        self, producer: Producer, seq: int, record: Outgoing, topic: str, reason: str | None = None
    ) -> None:
        store_id = self._backlog.store_id
        marks = headers(record, store_id, seq, self._configs.of(store_id, seq))
        marks |= {"reason": reason} if reason else {}

        def delivered(error: KafkaError | None, _: Message) -> None:
            self._in_flight -= 1
            if error is None:
                self._acked.append(seq)
            elif error.code() in _POISON and not reason:
                self._dead_letter(producer, seq, record, topic, str(error))
            else:
                self._broken = True  # start again from the first row that is not acknowledged

        try:
            producer.produce(
                topic, record.body, record.key, timestamp=record.time_ms, headers=marks, on_delivery=delivered
            )
            self._in_flight += 1
        except KafkaException as error:  # refused before it was sent: larger than message.max.bytes
            if reason or error.args[0].code() not in _POISON:
                raise
            self._dead_letter(producer, seq, record, topic, str(error))

    def _dead_letter(self, producer: Producer, seq: int, record: Outgoing, topic: str, reason: str) -> None:
        """Set one record aside so that those behind it go on; its body stays in the outbox."""
        self.dead_lettered += 1
        log.error("record set aside", topic=topic, key=record.key, seq=seq, reason=reason)
        stub = record._replace(body=b"")
        self._produce(producer, seq, stub, topic + DLQ_SUFFIX, reason)

    def _settle(self) -> None:
        if self._acked:
            done, self._acked = self._acked, []
            self._backlog.acknowledge(done)
            self.delivered += len(done)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._broken = True


class _DeadlineAfter:
    """Passes `wait_s` after `stop` was first seen set."""

    def __init__(self, stop: threading.Event, wait_s: float) -> None:
        self._stop, self._wait_s = stop, wait_s
        self._end = math.inf

    def passed(self) -> bool:
        """Whether it is over."""
        if self._end == math.inf and self._stop.is_set():
            self._end = time.monotonic() + self._wait_s
        return time.monotonic() > self._end


class _QuietLog:
    """librdkafka reports each failed connection attempt; the status record says it once."""

    def log(self, *_: object) -> None:
        return
