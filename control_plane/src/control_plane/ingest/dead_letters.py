"""Dead letters: what ingest could not read, as `<topic>.dlq` with origin and reason among the headers."""

from collections.abc import Mapping

import structlog
from confluent_kafka import KafkaError, Message, Producer

from control_plane.ingest.intake import Received
from shared.envelope import Envelope, Headers, Value
from shared.schemas import DLQ_SUFFIX

FLUSH_S = 10.0  # how long a batch waits for Kafka to have its dead letters
LETTER_BYTES_MAX = 1_000_000  # of body and headers: below the 1,048,588 that the broker takes
REASON_CHARS_MAX = 1_000
HEADER_CHARS_MAX = 200  # of a header kept of a letter that is too large as it is

# Headers beside the message's own.
ORIGIN, REASON = "origin", "reason"  # `topic/partition/offset`; in words
TIME_MS = "origin_time_ms"  # what Kafka had as the message's time
BODY_BYTES = "body_bytes"  # of a body that was left out
REPLAYED = "replayed"  # on a note without a body: the letter with this `origin` went back, and when

log = structlog.get_logger()


class KafkaDeadLetters:
    """Puts them; each batch waits until Kafka has its own."""

    def __init__(self, bootstrap: str, client: Mapping[str, str] | None = None) -> None:
        own = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "message.timeout.ms": 0}
        limit = {"message.max.bytes": LETTER_BYTES_MAX + 40_000}  # librdkafka counts its framing too
        self._producer = Producer({**(client or {}), **own, **limit}, logger=QuietLog())

    def put(self, message: Received, reason: str) -> None:
        """Send it on its way."""
        kept = letter(message, reason)
        self._producer.produce(
            f"{message.topic}{DLQ_SUFFIX}", kept.body, kept.key, headers=dict(kept.headers or ()),
            on_delivery=_delivered,
        )  # fmt: skip

    def flushed(self) -> bool:
        """Whether Kafka has all of them; waits a while for it."""
        return not self._producer.flush(FLUSH_S)


def _delivered(error: KafkaError | None, message: Message) -> None:
    """What Kafka will never take is only told: the message itself stays at its origin."""
    if error is not None:
        log.error("dead letter not taken by Kafka", topic=message.topic(), reason=error.str())


def letter(message: Received, reason: str) -> Received:
    """The message as a dead letter. One that would be too large to keep goes without its body and with the
    envelope alone: `body_bytes` says so, and `origin` where it is found while Kafka keeps it."""
    own: dict[str, Value] = {ORIGIN: message.origin, REASON: reason[:REASON_CHARS_MAX]}
    if message.time_ms is not None:
        own[TIME_MS] = str(message.time_ms)
    marks = dict(message.headers or ())
    if len(message.body) + len(message.key or b"") + _size(marks) <= LETTER_BYTES_MAX - _size(own):
        return message._replace(headers={**marks, **own})
    kept = {name: _cut(marks[name]) for name in Envelope._fields if name in marks}
    own[BODY_BYTES] = str(len(message.body))
    key = message.key[:HEADER_CHARS_MAX] if message.key else None
    return message._replace(headers={**kept, **own}, body=b"", key=key)


def _size(headers: Headers) -> int:
    return sum(len(name) * 4 + len(value or "") * 4 for name, value in dict(headers or ()).items())


def _cut(value: Value) -> Value:
    return value[:HEADER_CHARS_MAX] if value is not None else None


class QuietLog:
    """librdkafka reports each failed connection attempt; a lag that grows says it better."""

    def log(self, *_: object) -> None:
        return
