"""The ingest loop. It has a thread of its own: librdkafka's calls block."""

import threading
import time
from collections.abc import Mapping, Sequence

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

from control_plane.ingest.intake import Intake, Received
from control_plane.ingest.known_rows import KnownRows
from control_plane.ingest.progress import Progress
from control_plane.sinks.arrival import Sink
from shared.schemas import DLQ_SUFFIX, TOPICS

GROUP = "pm-stack-smr-ingest"
BATCH_MESSAGES_MAX = 2_000  # bounds memory, and the size of one commit to the lake
BATCH_WAIT_S = 1.0  # how long a batch is gathered: the age of what a page shows
DEAD_LETTER_FLUSH_S = 10.0
PROGRESS_PERIOD_S = 5.0  # how often Kafka is asked whether anything is left to read
ASK_TIMEOUT_S = 5.0  # for each such question

log = structlog.get_logger()


def consumer_config(bootstrap: str, group: str, client: Mapping[str, str]) -> dict[str, str | int | bool]:
    """librdkafka settings: offsets are ours to commit; a new group starts at the beginning.

    `client`: TLS and SASL, none for a broker without them.
    """
    return {
        **client,
        "bootstrap.servers": bootstrap,
        "group.id": group,
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
        *,
        progress: Progress | None = None,
        topics: Sequence[str] = TOPICS,
        group: str = GROUP,
        client: Mapping[str, str] | None = None,
    ) -> None:
        """`client`: librdkafka's TLS and SASL settings, none for a broker without them."""
        self._bootstrap, self._group, self._client = bootstrap, group, dict(client or {})
        self._topics = [*topics, *(topic + DLQ_SUFFIX for topic in topics)]
        self._intake = Intake(sinks, known, progress or Progress())
        self._next_look_s = 0.0
        self._trouble: int | None = None  # the kind of what librdkafka last complained of, since a batch came

    @property
    def accepted(self) -> int:
        """Records that every sink took."""
        return self._intake.accepted

    @property
    def repeats(self) -> int:
        """Records that were there already."""
        return self._intake.repeats

    @property
    def dead_letters(self) -> int:
        """Messages that could not be read."""
        return self._intake.dead_letters

    def run(self, stop: threading.Event) -> None:
        """Consume until `stop`; returns when the batch in hand is settled."""
        settings = consumer_config(self._bootstrap, self._group, self._client) | {"error_cb": self._on_error}
        consumer, asker = (Consumer(settings, logger=_QuietLog()) for _ in range(2))
        dead_letters = KafkaDeadLetters(self._bootstrap, self._client)
        consumer.subscribe(self._topics)
        try:
            while not stop.is_set():
                self._step(consumer, dead_letters, stop)
                self._note_progress(consumer, asker)
        finally:
            consumer.close()
            asker.close()

    def _on_error(self, error: KafkaError) -> None:
        """librdkafka goes on trying; a person should know why it must."""
        known = self._trouble is not None and error.code() == KafkaError._ALL_BROKERS_DOWN  # which says less
        if error.code() != self._trouble and not known:
            self._trouble = error.code()
            log.warning("Kafka is out of reach", reason=error.str())

    def _step(self, consumer: Consumer, dead_letters: "KafkaDeadLetters", stop: threading.Event) -> None:
        messages = consumer.consume(BATCH_MESSAGES_MAX, BATCH_WAIT_S)
        if messages:
            self._trouble = None
        self._intake.take([_received(m) for m in messages if not m.error()], dead_letters, stop)
        if stop.is_set():
            return
        if messages and dead_letters.flushed():
            _commit(consumer)

    def _note_progress(self, consumer: Consumer, asker: Consumer) -> None:
        """Now and then: whether anything is left to read, and how far we have come."""
        if time.monotonic() < self._next_look_s:
            return
        self._next_look_s = time.monotonic() + PROGRESS_PERIOD_S
        progress = self._intake.progress
        try:
            if progress.has_news and _caught_up(consumer, asker, self._topics):
                progress.caught_up()
        except KafkaException as error:
            log.debug("not known whether anything is left to read", reason=str(error))
        progress.save()


class KafkaDeadLetters:
    """Dead letters as `<topic>.dlq`, with origin and reason among the headers."""

    def __init__(self, bootstrap: str, client: Mapping[str, str] | None = None) -> None:
        own = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "message.timeout.ms": 0}
        settings = {**(client or {}), **own}
        self._producer = Producer(settings, logger=_QuietLog())

    def put(self, message: Received, reason: str) -> None:
        """Send it on its way."""
        marks = {**dict(message.headers or ()), "origin": message.origin, "reason": reason}
        self._producer.produce(f"{message.topic}{DLQ_SUFFIX}", message.body, message.key, headers=marks)

    def flushed(self) -> bool:
        """Whether Kafka has all of them; waits a while for it."""
        return not self._producer.flush(DEAD_LETTER_FLUSH_S)


def _received(message: Message) -> Received:
    topic = message.topic() or ""
    origin = f"{topic}/{message.partition()}/{message.offset()}"
    return Received(topic, message.key(), message.headers(), message.value() or b"", origin)


def _commit(consumer: Consumer) -> None:
    try:
        consumer.commit(asynchronous=False)
    except KafkaException as error:  # the broker forgot us: the records are safe, a repeat is dropped
        if error.args[0].code() != KafkaError._NO_OFFSET:
            log.warning("offsets not committed", reason=str(error))


def _caught_up(consumer: Consumer, asker: Consumer, topics: Sequence[str]) -> bool:
    """Whether every partition of `topics` is ours and read to the end that Kafka names now.

    `asker` has connections of its own: on the consumer's each question would wait behind a fetch.
    """
    assigned = consumer.assignment()
    known = asker.list_topics(timeout=ASK_TIMEOUT_S).topics
    if len(assigned) < sum(len(known[topic].partitions) for topic in topics if topic in known):
        return False
    committed = asker.committed(assigned, ASK_TIMEOUT_S)
    for at, before in zip(consumer.position(assigned), committed, strict=True):
        low, high = asker.get_watermark_offsets(at, ASK_TIMEOUT_S)
        if max(at.offset, before.offset, low) < high:  # an offset that is not known is below zero
            return False
    return bool(assigned)


class _QuietLog:
    """librdkafka reports each failed connection attempt; a lag that grows says it better."""

    def log(self, *_: object) -> None:
        return
