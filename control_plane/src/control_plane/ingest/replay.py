"""Dead letters read, and put back where they came from.

Enters: the `.dlq` topics. Leaves: what waits in them; on replay the messages on their origin topics, with
their key, time and headers, and in the `.dlq` a note that they went back. Never: a letter deleted.

The note follows the message. Killed between the two, the next replay sends it again, and ingest drops that
repeat by `(store_id, seq)`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from control_plane.ingest.dead_letters import BODY_BYTES, ORIGIN, REASON, REPLAYED, TIME_MS, QuietLog
from shared.envelope import Value
from shared.errors import Retryable
from shared.schemas import DLQ_SUFFIX, TOPICS, utc_now

LETTERS_MAX = 200_000  # read at a time, without their bodies: some 200 MB
ASK_TIMEOUT_S = 10.0
SILENCE_S = 30.0  # without a message or an end, Kafka is taken to be away
BATCH_LETTERS = 200  # sent before their notes: at 1 MiB each, 200 MiB
SEND_DEADLINE_S = 60.0  # for a batch

_OWN = (ORIGIN, REASON, TIME_MS, BODY_BYTES, REPLAYED)


@dataclass(frozen=True)
class Letter:
    """One dead letter without its body. `origin` identifies it; `put_ms` is when it was set aside and
    `time_ms` what Kafka had as the message's time, both in milliseconds since 1970 UTC."""

    topic: str
    origin: str
    reason: str
    key: str
    schema: str
    store_id: str
    seq: str
    put_ms: int
    time_ms: int
    body_left_out: bool
    replayed: bool = False


def read_letters(bootstrap: str, client: Mapping[str, str], topics: Sequence[str] = TOPICS) -> list[Letter]:
    """Every letter, oldest first; Retryable when Kafka is away or holds more than LETTERS_MAX.

    A message that ingest set aside twice, because it was read twice, is one letter.
    """
    found: dict[str, Letter] = {}
    replayed: set[str] = set()
    for message in _messages(bootstrap, client, topics):
        headers, origin = _headers(message), _origin(message)
        if REPLAYED in headers:
            replayed.add(origin)
        elif origin not in found:
            found[origin] = _letter(message, headers)
        if len(found) > LETTERS_MAX:
            raise Retryable(
                f"more than {LETTERS_MAX} dead letters; give --topic, or let Kafka's retention work"
            )
    letters = sorted(found.values(), key=lambda each: each.put_ms)
    return [Letter(**{**each.__dict__, "replayed": each.origin in replayed}) for each in letters]


def replay(
    bootstrap: str, client: Mapping[str, str], letters: Iterable[Letter]
) -> Iterator[tuple[Letter, str | None]]:
    """Put letters back, a batch at a time; says of each why not, or None when Kafka holds it again."""
    wanted = {each.origin: each for each in letters if not each.replayed}
    if not wanted:
        return
    own = {"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True}
    own["message.timeout.ms"] = str(int(SEND_DEADLINE_S * 1000))
    producer = Producer({**client, **own, "message.max.bytes": 1_048_576}, logger=QuietLog())
    topics = sorted({each.topic for each in wanted.values()})
    # A letter that is there twice is taken once: `pop` leaves nothing for the second.
    chosen = (
        (letter, message)
        for message in _messages(bootstrap, client, topics)
        if REPLAYED not in _headers(message) and (letter := wanted.pop(_origin(message), None))
    )
    while batch := list(islice(chosen, BATCH_LETTERS)):
        yield from _send(producer, batch)


def _send(producer: Producer, batch: Sequence[tuple[Letter, Message]]) -> Iterator[tuple[Letter, str | None]]:
    """The messages, then a note for each that Kafka holds."""
    failed: dict[str, str] = {}
    for letter, message in batch:
        if letter.body_left_out:
            failed[letter.origin] = "its body was too large for a dead letter; the message is at its origin"
            continue
        headers = {name: value for name, value in dict(message.headers() or ()).items() if name not in _OWN}

        def delivered(error: KafkaError | None, _: Message, origin: str = letter.origin) -> None:
            if error is not None:
                failed[origin] = error.str()

        producer.produce(
            letter.topic, message.value(), message.key(), timestamp=letter.time_ms, headers=headers,
            on_delivery=delivered,
        )  # fmt: skip
    _flush(producer)
    for letter, _ in batch:
        if letter.origin not in failed:
            note: dict[str, Value] = {ORIGIN: letter.origin, REPLAYED: utc_now().isoformat()}
            producer.produce(letter.topic + DLQ_SUFFIX, None, None, headers=note)
    _flush(producer)
    for letter, _ in batch:
        yield letter, failed.get(letter.origin)


def _flush(producer: Producer) -> None:
    if left := producer.flush(SEND_DEADLINE_S + 1):
        raise Retryable(f"Kafka did not take {left} of the messages; replay again, repeats are dropped")


def _messages(bootstrap: str, client: Mapping[str, str], topics: Sequence[str]) -> Iterator[Message]:
    """All that the topics' `.dlq` hold now, each partition in order; outside of any group."""
    settings = {
        "bootstrap.servers": bootstrap, "group.id": "pm-stack-smr-dlq", "enable.auto.commit": False,
        "enable.partition.eof": True, "auto.offset.reset": "earliest",
    }  # fmt: skip
    consumer = Consumer({**client, **settings}, logger=QuietLog())
    try:
        yield from _to_the_end(consumer, [topic + DLQ_SUFFIX for topic in topics])
    except KafkaException as error:
        raise Retryable(f"Kafka at {bootstrap}: {error.args[0].str()}") from error
    finally:
        consumer.close()


def _to_the_end(consumer: Consumer, names: Sequence[str]) -> Iterator[Message]:
    known = consumer.list_topics(timeout=ASK_TIMEOUT_S).topics
    places = [TopicPartition(n, p, 0) for n in names if n in known for p in known[n].partitions]
    consumer.assign(places)
    open_ends = {(at.topic, at.partition) for at in places}
    while open_ends:
        message = consumer.poll(SILENCE_S)
        if message is None:
            raise Retryable(f"Kafka sent nothing for {SILENCE_S:.0f} s; try again when it is there")
        error = message.error()
        if error is None:
            yield message
        elif error.code() == KafkaError._PARTITION_EOF:
            open_ends.discard((str(message.topic()), int(message.partition() or 0)))
        else:
            raise KafkaException(error)


def _letter(message: Message, headers: Mapping[str, str]) -> Letter:
    put_ms = message.timestamp()[1]
    time_ms = headers.get(TIME_MS, "")
    return Letter(
        topic=str(message.topic()).removesuffix(DLQ_SUFFIX),
        origin=_origin(message),
        reason=headers.get(REASON, "not told"),
        key=(message.key() or b"").decode(errors="replace"),
        schema=headers.get("schema", ""),
        store_id=headers.get("store_id", ""),
        seq=headers.get("seq", ""),
        put_ms=put_ms,
        time_ms=int(time_ms) if time_ms.isdigit() else put_ms,
        body_left_out=BODY_BYTES in headers,
    )


def _origin(message: Message) -> str:
    """Where the message came from; a site's own letter was nowhere before."""
    return _headers(message).get(ORIGIN) or f"{message.topic()}/{message.partition()}/{message.offset()}"


def _headers(message: Message) -> dict[str, str]:
    pairs = dict(message.headers() or ()).items()
    return {name: value.decode(errors="replace") if isinstance(value, bytes) else "" for name, value in pairs}
