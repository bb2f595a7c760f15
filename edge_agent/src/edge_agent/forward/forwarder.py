"""The forwarder's loop. It has a thread of its own: librdkafka's calls may block.

Two lanes read the outbox: what is urgent (alerts, status, gaps) goes first and overtakes the backlog; all
else follows in the order of its row numbers. A refused record is judged (`verdict.py`): a bad one is set
aside, a topic that takes nothing is held, anything else begins again from the first row not acknowledged.
"""

import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from edge_agent.forward.backoff import Backoff
from edge_agent.forward.config_marks import ConfigMarks
from edge_agent.forward.holds import Holds
from edge_agent.forward.in_flight import InFlight
from edge_agent.forward.settings import one_by_one, producer_config
from edge_agent.forward.verdict import Verdict, verdict, why_held
from shared.envelope import headers
from shared.schemas import DLQ_SUFFIX, TOPIC_BY_SCHEMA, URGENT_SCHEMAS, Outgoing

BATCH_ROWS_MAX = 1_000  # rows read from the outbox at a time
ACKED_ROWS_MIN = 10_000  # told to the outbox at a time, while rows are on their way: each time is a flush
ACKED_WAIT_S = 1.0  # what is reported is told within this time, however few rows it is
IDLE_WAIT_S = 0.1  # between looks at an empty outbox
REPORTS_WAIT_S = 1.0  # after a fatal error, for the reports that say which rows it was about
RESTART_WAIT_S = 1.0  # after a producer that can go on no more, before a new one; it doubles
RESTART_WAIT_MAX_S = 30.0
POISON_ROWS_MAX = 1_000  # refused records kept in mind until the dead letters have them; more are tried again

log = structlog.get_logger()


class PendingRow(Protocol):
    """A committed record; `seq` acknowledges it, (`store_id`, `number`) identify it for ever."""

    @property
    def seq(self) -> int: ...
    @property
    def record(self) -> Outgoing: ...
    @property
    def store_id(self) -> str: ...
    @property
    def number(self) -> int: ...


class Backlog(Protocol):
    """What the forwarder needs of the outbox; both calls block."""

    @property
    def store_id(self) -> str: ...
    def pending(self, after_seq: int, limit: int, *, urgent: bool = False) -> Sequence[PendingRow]:
        """The next rows not acknowledged, in order; with `urgent`, only those of URGENT_SCHEMAS."""

    def acknowledge(self, seqs: Sequence[int]) -> None: ...


class _Lane:
    """How far one reader of the outbox has come."""

    def __init__(self, *, urgent: bool) -> None:
        self.urgent = urgent
        self.after = 0


class Forwarder:
    """Sends what the backlog holds; `run` is given a thread of its own. Its counts may be read by any."""

    def __init__(
        self,
        backlog: Backlog,
        bootstrap: str,
        site: str,
        config_hash: str,
        client: Mapping[str, str] | None = None,
    ) -> None:
        """`client`: librdkafka's TLS and SASL settings, none for a broker without them."""
        self._backlog = backlog
        self._settings = producer_config(bootstrap, site, client or {})
        self._configs = ConfigMarks(config_hash)
        self._acked: list[int] = []  # reported, and the outbox is not told yet
        self._told_s = time.monotonic()
        self._in_flight = InFlight()
        self._lanes = (_Lane(urgent=True), _Lane(urgent=False))
        self._holds = Holds()
        self._suspects: set[int] = set()  # refused as part of a batch: one of them is bad
        self._poison: dict[int, KafkaError] = {}  # refused by itself
        self._careful = False  # the producer sends suspects one by one
        self._fatal = False  # the producer can go on no more, and may not have said why yet
        self._broken: str | None = None
        self._backoff = Backoff(RESTART_WAIT_S, RESTART_WAIT_MAX_S)
        self.delivered = 0
        self.dead_lettered = 0
        self.restarts = 0
        self.trouble: str | None = None  # what librdkafka last complained of, until a record is delivered
        self._trouble_code: int | None = None

    @property
    def held(self) -> dict[str, str]:
        """Why each held topic is held."""
        return self._holds.reasons()

    def config_changes(self, after_seq: int, config_hash: str) -> None:
        """Rows after this one are made under another configuration: their header says so."""
        self._configs.change(self._backlog.store_id, after_seq, config_hash)

    def run(self, stop: threading.Event, drain_deadline_s: float) -> bool:
        """Forward until `stop`, then drain; True when nothing was left within the deadline."""
        deadline = _DeadlineAfter(stop, drain_deadline_s)
        while not deadline.passed():
            producer = self._new_producer()
            drained = self._run_producer(producer, stop, deadline)
            if self._fatal:
                self._hear_why(producer)
            producer.purge()
            self._poll(producer, 0)  # reports that came meanwhile still count
            self._acknowledge(self._acked)
            if drained:
                return True
            if self._broken:
                self._restart(self._broken, stop)
        return False

    def _new_producer(self) -> Producer:
        self._in_flight, self._broken, self._fatal = InFlight(), None, False
        self._careful = bool(self._suspects)
        self._holds.forget_probes()
        for lane in self._lanes:
            lane.after = 0
        settings = one_by_one(self._settings) if self._careful else self._settings
        return Producer(settings | {"error_cb": self._on_error}, logger=_QuietLog())

    def _hear_why(self, producer: Producer) -> None:
        """A fatal error is told before the reports that name the rows it is about. Purged unheard, they would
        be sent again as they were, and fail again for ever."""
        end = time.monotonic() + REPORTS_WAIT_S
        known = len(self._suspects), len(self._poison)
        while self._in_flight and known == (len(self._suspects), len(self._poison)):
            self._poll(producer, IDLE_WAIT_S)
            if time.monotonic() > end:
                return

    def _restart(self, reason: str, stop: threading.Event) -> None:
        self.restarts += 1
        log.warning("producer restarted", reason=reason)
        while len(self._poison) > POISON_ROWS_MAX:
            del self._poison[next(iter(self._poison))]
        if not self._suspects or len(self._poison) == POISON_ROWS_MAX:
            stop.wait(self._backoff.wait_s())

    def _run_producer(self, producer: Producer, stop: threading.Event, deadline: "_DeadlineAfter") -> bool:
        """True when nothing is left after `stop`; False when a new producer is needed or time is up."""
        while not self._broken and not deadline.passed():
            last_look = stop.is_set()  # asked before the look: what was committed until then is seen by it
            self._probe(producer)
            moved = sum(self._send_some(producer, lane) for lane in self._lanes)
            idle = not moved and not self._in_flight  # asked before the reports, which may end a hold
            self._poll(producer, 0 if moved else IDLE_WAIT_S)
            self._acknowledge_some()
            if self._careful and idle:
                self._suspects.clear()
                return False
            if last_look and idle and not self._holds:
                return True
        return False

    def _send_some(self, producer: Producer, lane: _Lane) -> int:
        """How many rows the lane went on by; rows of a held topic are passed over."""
        room = min(BATCH_ROWS_MAX, self._in_flight.room(urgent=lane.urgent))
        rows = self._backlog.pending(lane.after, room, urgent=lane.urgent) if room else []
        moved = 0
        for row in rows:
            if self._careful and row.seq > max(self._suspects):
                break
            ours = lane.urgent or row.record.schema not in URGENT_SCHEMAS
            if ours and not (self._in_flight.room(urgent=lane.urgent) and self._offer(producer, row)):
                break
            lane.after = row.seq
            moved += 1
        return moved

    def _probe(self, producer: Producer) -> None:
        """Try each held topic whose time has come with the first row that waits for it."""
        for topic, hold in self._holds.due():
            rows = self._backlog.pending(hold.first - 1, 1)
            if not rows or rows[0].seq != hold.first:
                self._release(topic)  # the outbox gave the row up: look anew
                continue
            hold.probe = hold.first
            if not self._offer(producer, rows[0]):
                hold.probe = None

    def _offer(self, producer: Producer, row: PendingRow) -> bool:
        """Give the row to librdkafka, to its topic or to the dead letters; False when there is no room."""
        if row.seq in self._in_flight:
            return True  # read again after a hold ended
        if row.seq in self._poison:
            return self._dead_letter(producer, row, self._poison[row.seq])
        return self._produce(producer, row, TOPIC_BY_SCHEMA[row.record.schema])

    def _dead_letter(self, producer: Producer, row: PendingRow, error: KafkaError) -> bool:
        """Set one record aside so that those behind it go on. One too large goes without its body, which
        stays in the outbox; it is stamped with the time now, as its own may be why it was refused."""
        topic = TOPIC_BY_SCHEMA[row.record.schema] + DLQ_SUFFIX
        too_large = error.code() in {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
        body = b"" if too_large else row.record.body
        stub = row.record._replace(body=body, time_ms=int(time.time() * 1000))
        return self._produce(producer, row, topic, stub, error.str())

    def _produce(
        self,
        producer: Producer,
        row: PendingRow,
        topic: str,
        stub: Outgoing | None = None,
        reason: str | None = None,
    ) -> bool:
        if self._holds.passes_over(topic, row.seq):
            return True
        record = stub or row.record
        config_hash = self._configs.of(row.store_id, row.number)
        marks = headers(record, row.store_id, row.number, config_hash)
        if reason:
            marks["reason"] = reason

        def reported(error: KafkaError | None, _: Message) -> None:
            self._in_flight.remove(row.seq)
            if error is None:
                self._taken(row, topic, reason)
            else:
                self._refused(row, topic, error)

        try:
            producer.produce(
                topic, record.body, record.key, timestamp=record.time_ms, headers=marks, on_delivery=reported
            )
        except BufferError:  # librdkafka's own bound
            return False
        except KafkaException as error:  # refused before it was sent: too large, or no such topic
            if verdict(error.args[0]) is Verdict.POISON and not reason:
                return self._dead_letter(producer, row, error.args[0])
            self._refused(row, topic, error.args[0])
            return not self._broken
        self._in_flight.add(row.seq, len(record.body))
        return True

    def _taken(self, row: PendingRow, topic: str, reason: str | None) -> None:
        self._acked.append(row.seq)
        self._backoff.reset()
        if self._poison:
            self._poison.pop(row.seq, None)
        if self.trouble is not None:
            log.info("Kafka takes records again")
            self.trouble = self._trouble_code = None
        if reason:
            self.dead_lettered += 1
            log.error("record set aside", topic=topic, key=row.record.key, seq=row.number, reason=reason)
        if self._holds:
            self._release(topic)

    def _release(self, topic: str) -> None:
        """Read again what was passed over while the topic was held; what is in flight is not sent twice."""
        first = self._holds.released(topic)
        if first is not None:
            self._acknowledge(self._acked)
            for lane in self._lanes:
                lane.after = min(lane.after, first - 1)

    def _refused(self, row: PendingRow, topic: str, error: KafkaError) -> None:
        found = verdict(error)
        if found is Verdict.TOPIC or (found is Verdict.POISON and topic.endswith(DLQ_SUFFIX)):
            self._holds.refused(topic, row.seq, why_held(error))
        elif found is Verdict.POISON:
            self._broken = error.str()
            if not self._careful:
                self._suspects.add(row.seq)
            else:
                self._poison[row.seq] = error
        elif found is Verdict.AGAIN:
            self._broken = self._broken or error.str()

    def _poll(self, producer: Producer, wait_s: float) -> None:
        """Hear the reports that have come."""
        try:
            producer.poll(wait_s)
        except KafkaException as error:  # raised for a fatal error, whatever else there is to report
            self._on_error(error.args[0])

    def _acknowledge_some(self) -> None:
        """Tell the outbox, seldom; first of what is before all rows on their way, which costs it least."""
        if not self._in_flight:
            self._acknowledge(self._acked)
        elif len(self._acked) >= ACKED_ROWS_MIN or time.monotonic() - self._told_s >= ACKED_WAIT_S:
            oldest = self._in_flight.oldest()
            done = [seq for seq in self._acked if seq < oldest]
            self._acknowledge(done if 2 * len(done) >= len(self._acked) else self._acked)

    def _acknowledge(self, done: list[int]) -> None:
        """Tell the outbox that Kafka has these; what it is not told is sent again after a restart."""
        self._told_s = time.monotonic()
        if done:
            kept = set(self._acked).difference(done) if len(done) < len(self._acked) else ()
            self._acked = list(kept)
            self._backlog.acknowledge(done)
            self.delivered += len(done)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:
            self._fatal = True
            self._broken = self._broken or error.str()
        elif self.trouble is None or error.code() != KafkaError._ALL_BROKERS_DOWN:  # which says less
            self.trouble = error.str()
            if error.code() != self._trouble_code:
                self._trouble_code = error.code()
                log.warning("Kafka is out of reach; the outbox keeps what is committed", reason=self.trouble)


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
    """librdkafka reports each failed connection attempt; `trouble` says it once."""

    def log(self, *_: object) -> None:
        return
