"""The ingest loop. It has a thread of its own: librdkafka's calls block."""

import threading
from collections.abc import Mapping, Sequence

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

from control_plane.ingest.known_rows import KnownRows
from control_plane.sinks.arrival import Arrival, Sink
from shared.envelope import parse_headers
from shared.errors import Rejected, Retryable
from shared.schemas import DLQ_SUFFIX, TOPICS, parse_record

GROUP = "pm-stack-smr-ingest"
BATCH_MESSAGES_MAX = 2_000  # bounds memory, and the size of one commit to the lake
BATCH_WAIT_S = 1.0  # how long a batch is gathered: the age of what a page shows
RETRY_WAIT_S = 1.0  # after a sink said "not now"
DEAD_LETTER_FLUSH_S = 10.0

log = structlog.get_logger()


def consumer_config(bootstrap: str, client: Mapping[str, str]) -> dict[str, str | int | bool]:
    """librdkafka settings: offsets are ours to commit; a new group starts at the beginning.

    `client`: TLS and SASL, none for a broker without them.
    """
    return {
        **client,
        "bootstrap.servers": bootstrap,
        "group.id": GROUP,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "allow.auto.create.topics": True,
        "topic.metadata.refresh.interval.ms": 5_000,
        "reconnect.backoff.max.ms": 2_000,
        "session.timeout.ms": 10_000,
    }


class Ingest:
    """Consumes until `stop` is set; hands each new record to every sink, in order per component."""

    def __init__(
        self,
        bootstrap: str,
        sinks: Sequence[Sink],
        known: KnownRows,
        client: Mapping[str, str] | None = None,
    ) -> None:
        self._bootstrap, self._client = bootstrap, dict(client or {})
        self._sinks = sinks
        self._known = known
        self.accepted = 0
        self.repeats = 0
        self.dead_letters = 0
        self._trouble: str | None = None  # what librdkafka last complained of, since a batch came

    def run(self, stop: threading.Event) -> None:
        """Consume until `stop`; returns when the batch in hand is settled."""
        own = consumer_config(self._bootstrap, self._client) | {"error_cb": self._on_error}
        consumer = Consumer(own, logger=_QuietLog())
        dead_letters = Producer(self._client | {"bootstrap.servers": self._bootstrap}, logger=_QuietLog())
        consumer.subscribe(list(TOPICS))
        try:
            while not stop.is_set():
                self._step(consumer, dead_letters, stop)
        finally:
            consumer.close()

    def _on_error(self, error: KafkaError) -> None:
        """librdkafka goes on trying; a person should know why it must."""
        if error.str() != self._trouble:
            self._trouble = error.str()
            log.warning("Kafka is out of reach", reason=self._trouble)

    def _step(self, consumer: Consumer, dead_letters: Producer, stop: threading.Event) -> None:
        messages = consumer.consume(BATCH_MESSAGES_MAX, BATCH_WAIT_S)
        batch = [a for m in messages if not m.error() and (a := self._arrival(m, dead_letters))]
        if batch:
            self._trouble = None
            self._settle(batch, stop)
        if stop.is_set() or not messages:
            return
        dead_letters.flush(DEAD_LETTER_FLUSH_S)
        try:
            consumer.commit(asynchronous=False)
        except KafkaException as error:  # the broker forgot us: the records are safe, a repeat is dropped
            if error.args[0].code() != KafkaError._NO_OFFSET:
                log.warning("offsets not committed", reason=str(error))

    def _arrival(self, message: Message, dead_letters: Producer) -> Arrival | None:
        """The message as a new arrival; None when it is a repeat or was set aside."""
        try:
            envelope = parse_headers(message.headers())
            body = message.value() or b""
            arrival = Arrival(parse_record(envelope.schema, body), body, envelope)
        except Rejected as error:
            self._set_aside(message, str(error), dead_letters)
            return None
        if self._known.add(envelope.store_id, envelope.seq):
            return arrival
        self.repeats += 1
        return None

    def _settle(self, batch: list[Arrival], stop: threading.Event) -> None:
        """Every sink takes the batch, however long that needs; a sink that has it drops its repeat."""
        for sink in self._sinks:
            while not stop.is_set():
                try:
                    sink.accept(batch)
                    break
                except Retryable as error:
                    log.warning("sink not ready", sink=type(sink).__name__, reason=str(error))
                    stop.wait(RETRY_WAIT_S)
        self.accepted += len(batch)

    def _set_aside(self, message: Message, reason: str, dead_letters: Producer) -> None:
        self.dead_letters += 1
        origin = f"{message.topic()}/{message.partition()}/{message.offset()}"
        log.error("message set aside", origin=origin, reason=reason)
        marks = {**dict(message.headers() or ()), "origin": origin, "reason": reason}
        dead_letters.produce(f"{message.topic()}{DLQ_SUFFIX}", message.value(), message.key(), headers=marks)


class _QuietLog:
    """librdkafka reports each failed connection attempt; a lag that grows says it better."""

    def log(self, *_: object) -> None:
        return
