"""The ingest loop. It has a thread of its own: librdkafka's calls block."""

import gc
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby

import structlog
from confluent_kafka import (
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from control_plane.ingest.dead_letters import KafkaDeadLetters, QuietLog
from control_plane.ingest.intake import Chunk, Intake, Received
from control_plane.ingest.known_rows import KnownRows
from control_plane.ingest.progress import Progress
from control_plane.sinks.arrival import Sink
from shared.schemas import DLQ_SUFFIX, TOPICS

GROUP = "pm-stack-smr-ingest"
BATCH_MESSAGES_MAX = (
    50_000  # some 30 MB as columns and bodies; a backlog makes few and large files in the lake
)
BATCH_BYTES_MAX = 32 * 1024 * 1024  # of bodies: a batch of the largest messages must fit in memory too
BATCH_WAIT_S = 1.0  # how long a batch is gathered: the age of what a page shows
CHUNK_MESSAGES_MAX = 100  # judged at once: more leave the cache; at 1 MiB each, 100 MiB beyond the bound
FETCHED_AHEAD_KIB_MAX = 16_384  # that librdkafka keeps ready: some 20,000 readings
STOP_LOOK_S = 0.2  # how soon a stop is seen while sinks are waited for
PROGRESS_PERIOD_S = 5.0  # how often Kafka is asked whether anything is left to read
ASK_TIMEOUT_S = 5.0  # for each such question

_Place = tuple[str, int]  # topic and partition

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
        "queued.max.messages.kbytes": FETCHED_AHEAD_KIB_MAX,
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
        self._early: list[Message] = []  # handed out while sinks were waited for: the next batch's first
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
        consumer, asker = (Consumer(settings, logger=QuietLog()) for _ in range(2))
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

    def _step(self, consumer: Consumer, dead_letters: KafkaDeadLetters, stop: threading.Event) -> None:
        last: dict[_Place, Message] = {}
        for messages in self._gather(consumer):
            with _no_garbage():
                for topic, run in groupby(messages, Message.topic):
                    own = list(run)
                    self._intake.judge(_chunk(topic or "", own), dead_letters)
                    for partition, message in dict(
                        zip(map(Message.partition, own), own, strict=True)
                    ).items():
                        last[topic or "", partition or 0] = message
                messages.clear()  # their memory is the next ones', and still in the processor's cache
        waits = _StaysInGroup(stop, consumer, self._early)
        self._intake.settle(waits)
        waits.resume()
        if last and not stop.is_set() and dead_letters.flushed():
            _commit(consumer, next_offsets(last.values()))

    def _gather(self, consumer: Consumer) -> Iterator[list[Message]]:
        """The messages of a batch, bounded in number, bytes and the time that it waits for more."""
        messages, end = list(self._early), time.monotonic() + BATCH_WAIT_S
        self._early.clear()
        count = size = 0
        more = True
        while more or messages:
            if messages:
                count, size = count + len(messages), size + sum(map(len, messages))
                yield messages
            room = min(CHUNK_MESSAGES_MAX, BATCH_MESSAGES_MAX - count)
            if not more or room <= 0 or size >= BATCH_BYTES_MAX:
                return
            found = consumer.consume(room, max(end - time.monotonic(), 0.0))
            more = len(found) == room
            messages = self._sound(found)

    def _sound(self, found: list[Message]) -> list[Message]:
        """Those that are messages; the others say what is wrong."""
        messages = found
        if any(map(Message.error, found)):
            messages = [message for message in found if message.error() is None]
            for error in map(Message.error, found):
                if error is not None:
                    self._on_error(error)
        if messages:
            self._trouble = None
        return messages

    def _note_progress(self, consumer: Consumer, asker: Consumer) -> None:
        """Now and then: whether anything is left to read, and how far we have come."""
        if time.monotonic() < self._next_look_s:
            return
        self._next_look_s = time.monotonic() + PROGRESS_PERIOD_S
        progress = self._intake.progress
        try:
            if progress.has_news and not self._early and _caught_up(consumer, asker, self._topics):
                progress.caught_up()
        except KafkaException as error:
            log.debug("not known whether anything is left to read", reason=str(error))
        progress.save()


class _StaysInGroup:
    """The event `stop`, whose `wait` keeps the consumer in its group however long a sink is away.

    Partitions are paused meanwhile, so that nothing is fetched and memory stays as it is; polling tells
    the group that we live. One that a rebalance brings may hand out a message before it is paused too:
    that is kept in `early`.
    """

    def __init__(self, stop: threading.Event, consumer: Consumer, early: list[Message]) -> None:
        self._stop, self._consumer, self._early = stop, consumer, early
        self._paused = False

    def is_set(self) -> bool:
        return self._stop.is_set()

    def wait(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not self._stop.is_set() and (left := end - time.monotonic()) > 0:
            self._paused = True
            self._consumer.pause(self._consumer.assignment())
            message = self._consumer.poll(min(left, STOP_LOOK_S))
            if message is not None and message.error() is None:
                self._early.append(message)
        return self._stop.is_set()

    def resume(self) -> None:
        """Fetch again, if ever it waited."""
        if self._paused:
            self._consumer.resume(self._consumer.assignment())


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Python does not look for cyclic garbage meanwhile: messages make none, and many objects to look at."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def next_offsets(messages: Iterable[Message]) -> list[TopicPartition]:
    """What to commit for exactly these messages: of each partition, the offset after its last."""
    last: dict[_Place, int] = {}
    for message in messages:
        place, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
        last[place] = max(offset, last.get(place, -1))
    return [TopicPartition(*place, offset + 1) for place, offset in last.items()]


def _chunk(topic: str, messages: Sequence[Message]) -> Chunk:
    headers, bodies = [*map(Message.headers, messages)], [*map(Message.value, messages)]
    return Chunk(topic, headers, [body or b"" for body in bodies], partial(_received, messages))


def _received(messages: Sequence[Message], at: int) -> Received:
    message = messages[at]
    topic = message.topic() or ""
    origin = f"{topic}/{message.partition()}/{message.offset()}"
    kind, time_ms = message.timestamp()
    known_ms = None if kind == TIMESTAMP_NOT_AVAILABLE else time_ms
    return Received(topic, message.key(), message.headers(), message.value() or b"", origin, known_ms)


def _commit(consumer: Consumer, offsets: list[TopicPartition]) -> None:
    """A failure is no loss: the records are safe, and what is read again is dropped as a repeat."""
    try:
        consumer.commit(offsets=offsets, asynchronous=False)
    except KafkaException as error:
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
