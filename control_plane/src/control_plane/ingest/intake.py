"""One way in, however a record came: validated, repeats dropped, every sink told, what is bad set aside."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol

import structlog
from pydantic import ValidationError

from control_plane.ingest.known_rows import KnownRows
from control_plane.ingest.progress import Progress
from control_plane.ingest.readings import ReadingColumns
from control_plane.sinks.arrival import Arrival, Sink
from control_plane.sinks.batch import Batch
from shared.envelope import Envelope, Headers, parse_headers
from shared.errors import Rejected, Retryable
from shared.schemas import (
    DLQ_SUFFIX,
    TOPIC_BY_SCHEMA,
    GapRecord,
    SiteStatus,
    Telemetry,
    parse_record,
    utc_now,
)

RETRY_WAIT_S = 1.0  # after a sink said "not now"
READINGS_TOPIC = TOPIC_BY_SCHEMA[Telemetry.SCHEMA]

log = structlog.get_logger()


class Received(NamedTuple):
    """A message as a site made it; `origin` says where this copy was found, `time_ms` is Kafka's time of it
    (milliseconds since 1970 UTC), where it is known."""

    topic: str
    key: bytes | None
    headers: Headers
    body: bytes
    origin: str
    time_ms: int | None = None


class Chunk(NamedTuple):
    """Messages of one topic in order: their headers and bodies, and each as `Received` where it must be."""

    topic: str
    headers: Sequence[Headers]
    bodies: Sequence[bytes]
    received: Callable[[int], Received]


class DeadLetters(Protocol):
    """Keeps what could not be read, for a person."""

    def put(self, message: Received, reason: str) -> None: ...


class Stop(Protocol):
    """Says whether to end, and waits for that; a `threading.Event` does."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float, /) -> bool: ...


class Intake:
    """Hands each new record to every sink, in the order given. Used by one thread at a time."""

    def __init__(self, sinks: Sequence[Sink], known: KnownRows, progress: Progress) -> None:
        self._sinks, self._known, self.progress = sinks, known, progress
        self._readings, self._others = ReadingColumns(known), list[Arrival]()
        self.accepted = 0
        self.repeats = 0
        self.dead_letters = 0

    def take(self, messages: Iterable[Received], dead_letters: DeadLetters, stop: Stop) -> None:
        """Judge and settle what did not come from Kafka."""
        for topic, found in groupby(messages, lambda message: message.topic):
            run = list(found)
            chunk = Chunk(topic, [m.headers for m in run], [m.body for m in run], run.__getitem__)
            self.judge(chunk, dead_letters)
        self.settle(stop)

    def judge(self, chunk: Chunk, dead_letters: DeadLetters) -> None:
        """Keep what is valid of it for `settle`; what is not is set aside now."""
        self._judge(chunk, range(len(chunk.bodies)), dead_letters)

    def _judge(self, chunk: Chunk, span: range, dead_letters: DeadLetters) -> None:
        """All at once where that can be; else by halves, down to what must be looked at by itself."""
        at_once = chunk.topic == READINGS_TOPIC
        if at_once and self._readings.take(
            chunk.headers[span.start : span.stop], chunk.bodies[span.start : span.stop]
        ):
            return
        if at_once and len(span) > 1:
            middle = len(span) // 2
            self._judge(chunk, span[:middle], dead_letters)
            self._judge(chunk, span[middle:], dead_letters)
            return
        for at in span:
            if arrival := self._arrival(chunk.received(at), dead_letters):
                self._others.append(arrival)

    def _arrival(self, message: Received, dead_letters: DeadLetters) -> Arrival | None:
        """The message as a new arrival; None when it is a reading, a repeat or was set aside without a trace
        to keep."""
        if message.topic.endswith(DLQ_SUFFIX):
            return _note_of_letter(message)
        envelope = None
        try:
            envelope = parse_headers(message.headers)
            record = parse_record(envelope.schema, message.body)
            if record.key.split("/", 1)[0] != envelope.site:
                raise Rejected(f"header site: found {envelope.site!r}; the record is of {record.key}")
            if isinstance(record, Telemetry) and self._readings.add(record, envelope, message.body):
                return None
            new = self._known.add(envelope.store_id, envelope.seq)
        except Rejected as error:
            self.dead_letters += 1
            log.error("message set aside", origin=message.origin, reason=str(error))
            dead_letters.put(message, str(error))
            return _note_of(envelope) if envelope else None
        if new:
            return Arrival(record, message.body, envelope)
        self._count_repeats(envelope.store_id, 1)
        return None

    def _count_repeats(self, store_id: str, rows: int) -> None:
        self.repeats += rows
        self.progress.count_repeat(store_id, rows)

    def settle(self, stop: Stop) -> None:
        """Returns when every sink holds what was new of all that was judged, or `stop` is set."""
        readings, repeats = self._readings.gathered()
        batch = Batch(readings, self._others)
        self._readings, self._others = ReadingColumns(self._known), []
        for store_id, rows in repeats.items():
            self._count_repeats(store_id, rows)
        if len(batch):
            self._hand_on(batch, stop)

    def _hand_on(self, batch: Batch, stop: Stop) -> None:
        """Every sink takes the batch, however long that needs; a sink that has it drops its repeat."""
        for sink in self._sinks:
            while not stop.is_set():
                try:
                    sink.accept(batch)
                    break
                except Retryable as error:
                    log.warning(
                        "sink not ready", sink=getattr(sink, "name", type(sink).__name__), reason=str(error)
                    )
                    stop.wait(RETRY_WAIT_S)
        if stop.is_set():
            return
        self.accepted += len(batch)
        for arrival in batch.others:
            if isinstance(arrival.record, SiteStatus) and arrival.record.settled_seq is not None:
                self.progress.note_settled(arrival.record.store_id, arrival.record.settled_seq)


def _note_of_letter(message: Received) -> Arrival | None:
    """A site's own dead letter: a row that Kafka would not take. Those of ingest bear an `origin`."""
    if "origin" in dict(message.headers or ()):
        return None
    try:
        return _note_of(parse_headers(message.headers))
    except Rejected:
        return None


def _note_of(envelope: Envelope) -> Arrival | None:
    """What the lake keeps of a row that could not be read or sent: its number, to account for it.

    It stands under the row's own number, which tells it from a gap that a site declared.
    """
    seq = envelope.seq
    try:
        note = GapRecord(
            timestamp=utc_now(), site_id=envelope.site, store_id=envelope.store_id,
            from_seq=seq, to_seq=seq, count=1, reason="rejected",
        )  # fmt: skip
    except ValidationError:  # the headers are no better than the body
        return None
    return Arrival(note, note.outgoing().body, envelope._replace(schema=GapRecord.SCHEMA))
