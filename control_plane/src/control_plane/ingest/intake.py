"""One way in, however a record came: validated, repeats dropped, every sink told, what is bad set aside."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import structlog
from pydantic import ValidationError

from control_plane.ingest.known_rows import KnownRows
from control_plane.ingest.progress import Progress
from control_plane.sinks.arrival import Arrival, Sink
from shared.envelope import Envelope, Headers, parse_headers
from shared.errors import Rejected, Retryable
from shared.schemas import DLQ_SUFFIX, GapRecord, SiteStatus, parse_record, utc_now

RETRY_WAIT_S = 1.0  # after a sink said "not now"

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
        self.accepted = 0
        self.repeats = 0
        self.dead_letters = 0

    def take(self, messages: Sequence[Received], dead_letters: DeadLetters, stop: Stop) -> None:
        """Returns when every sink holds what was new of `messages`, or `stop` is set."""
        batch = [a for message in messages if (a := self._arrival(message, dead_letters))]
        if batch:
            self._settle(batch, stop)

    def _arrival(self, message: Received, dead_letters: DeadLetters) -> Arrival | None:
        """The message as a new arrival; None when it is a repeat or was set aside without a trace to keep."""
        if message.topic.endswith(DLQ_SUFFIX):
            return _note_of_letter(message)
        envelope = None
        try:
            envelope = parse_headers(message.headers)
            record = parse_record(envelope.schema, message.body)
            if record.key.split("/", 1)[0] != envelope.site:
                raise Rejected(f"header site: found {envelope.site!r}; the record is of {record.key}")
            new = self._known.add(envelope.store_id, envelope.seq)
        except Rejected as error:
            self.dead_letters += 1
            log.error("message set aside", origin=message.origin, reason=str(error))
            dead_letters.put(message, str(error))
            return _note_of(envelope) if envelope else None
        if new:
            return Arrival(record, message.body, envelope)
        self.repeats += 1
        self.progress.count_repeat(envelope.store_id)
        return None

    def _settle(self, batch: list[Arrival], stop: Stop) -> None:
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
        for arrival in batch:
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
