"""The forwarder's promises that need no broker."""

import itertools
import threading
from types import SimpleNamespace

import pytest
import structlog
from confluent_kafka import KafkaError, KafkaException
from prometheus_client import CollectorRegistry

from control_plane.ingest.consumer import Ingest
from control_plane.ingest.known_rows import KnownRows
from edge_agent.forward import ForwardCollector, Forwarder, forwarder, holds, in_flight
from edge_agent.forward.backoff import Backoff
from edge_agent.forward.verdict import Verdict, verdict
from edge_agent.outbox import Row
from shared.schemas import URGENT_SCHEMAS, Outgoing, SiteStatus

ROW = Row(1, Outgoing("telemetry/1", "TX01/R1/pump", 0, b"{}"), "s", 1)


class LateBacklog:
    """The agent's last rows become durable while the forwarder waits, just before it is told to end."""

    store_id = "store"

    def __init__(self, stop: threading.Event) -> None:
        self.rows: list[Row] = []
        self.acknowledged: list[int] = []
        self.stop = stop

    def pending(self, after_seq, limit, *, urgent=False):
        rows = [row for row in self.rows if row.seq > after_seq and row.seq not in self.acknowledged]
        return [row for row in rows if not urgent or row.record.schema in URGENT_SCHEMAS][:limit]

    def acknowledge(self, seqs):
        self.acknowledged += seqs


class FakeProducer:
    """Delivers at the next poll; during its first, idle poll the last commit and the stop happen."""

    def __init__(self, backlog: LateBacklog) -> None:
        self.backlog, self.waiting, self.polls = backlog, [], 0

    def produce(self, topic, body, key, timestamp, headers, on_delivery):
        self.waiting.append(on_delivery)

    def poll(self, timeout):
        self.polls += 1
        if self.polls == 1:
            self.backlog.rows.append(ROW)
            self.backlog.stop.set()
        for delivered in self.waiting:
            delivered(None, None)
        self.waiting = []

    def purge(self):
        return


def test_what_was_committed_before_the_stop_is_sent_before_the_end(monkeypatch):
    stop = threading.Event()
    backlog = LateBacklog(stop)
    monkeypatch.setattr(forwarder, "Producer", lambda *_, **__: FakeProducer(backlog))
    assert Forwarder(backlog, "127.0.0.1:1", "TX01", "hash").run(stop, 5.0)
    assert backlog.acknowledged == [1]


def test_a_broker_that_is_away_holds_nobody_beyond_the_deadline():
    """A real producer, nothing at the other end."""
    stop = threading.Event()
    backlog = LateBacklog(stop)
    backlog.rows.append(ROW)
    stop.set()
    assert not Forwarder(backlog, "127.0.0.1:1", "TX01", "hash").run(stop, 0.3)
    assert backlog.acknowledged == []


class Broker:
    """Stands for a producer; each message's report is what `answers` says for its topic, in turn."""

    def __init__(self, answers: dict[str, list[KafkaError | None]]) -> None:
        self.answers, self.sent, self.waiting = answers, [], []

    def produce(self, topic, body, key, timestamp, headers, on_delivery):
        self.sent.append((topic, int(headers["seq"]), body))
        self.waiting.append((topic, on_delivery))

    def poll(self, timeout):
        waiting, self.waiting = self.waiting, []
        for topic, delivered in waiting:
            left = self.answers.get(topic, [])
            delivered(left.pop(0) if left else None, None)

    def purge(self):
        return


def forwarded(monkeypatch, broker: Broker, *rows: Row, drain_s: float = 5.0) -> LateBacklog:
    """The rows (two pieces of telemetry unless told) through this broker until nothing is left."""
    stop = threading.Event()
    backlog = LateBacklog(stop)
    backlog.rows += rows or [ROW, ROW._replace(seq=2, number=2)]
    stop.set()
    monkeypatch.setattr(forwarder, "Producer", lambda *_, **__: broker)
    monkeypatch.setattr(forwarder, "RESTART_WAIT_S", 0.0)
    monkeypatch.setattr(holds, "HOLD_FIRST_S", 0.0)
    backlog.forwarder = Forwarder(backlog, "127.0.0.1:1", "TX01", "hash")
    backlog.forwarder.run(stop, drain_s)
    return backlog


def row(seq: int, schema: str = "telemetry/1") -> Row:
    return Row(seq, ROW.record._replace(schema=schema, body=b"{%d}" % seq), "s", seq)


def errors(*codes: int | None) -> list[KafkaError | None]:
    return [None if code is None else KafkaError(code) for code in codes]


def test_a_row_whose_delivery_failed_is_not_acknowledged_and_is_sent_again(monkeypatch):
    """Any failure that says nothing of the record leaves the row pending."""
    broker = Broker({"telemetry_raw": errors(KafkaError._FAIL)})
    backlog = forwarded(monkeypatch, broker)
    assert sorted(backlog.acknowledged) == [1, 2]
    assert [seq for _, seq, _ in broker.sent] == [1, 2, 1]


def test_a_record_refused_with_its_batch_is_not_set_aside(monkeypatch):
    """Of a batch that is too large each record is tried alone; only the one refused alone is set aside."""
    too_large = KafkaError.MSG_SIZE_TOO_LARGE
    broker = Broker({"telemetry_raw": errors(too_large, too_large, None, too_large)})
    backlog = forwarded(monkeypatch, broker)
    assert sorted(backlog.acknowledged) == [1, 2]
    assert [(topic, seq) for topic, seq, _ in broker.sent if topic.endswith(".dlq")] == [
        ("telemetry_raw.dlq", 2)
    ]


def test_a_row_that_the_broker_can_never_take_is_set_aside_and_holds_up_nobody(monkeypatch):
    """It goes to the dead letters with no body, since that is what was too large."""
    too_large = KafkaError.MSG_SIZE_TOO_LARGE
    broker = Broker({"telemetry_raw": errors(too_large, None, too_large)})
    backlog = forwarded(monkeypatch, broker)
    assert sorted(backlog.acknowledged) == [1, 2]
    assert broker.sent[-1] == ("telemetry_raw.dlq", 1, b"")


def test_a_bad_record_that_is_not_too_large_keeps_its_body(monkeypatch):
    """A person who reads the dead letters sees what it was."""
    broker = Broker({"telemetry_raw": errors(KafkaError.INVALID_RECORD, KafkaError.INVALID_RECORD)})
    backlog = forwarded(monkeypatch, broker, row(7))
    assert backlog.acknowledged == [7]
    assert broker.sent[-1] == ("telemetry_raw.dlq", 7, b"{7}")


@pytest.mark.parametrize("refused", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.INVALID_RECORD])
def test_a_record_that_even_the_dead_letters_refuse_stays_pending_and_holds_up_nobody(monkeypatch, refused):
    """Nothing is dropped: the row waits in the outbox, those behind it are delivered."""
    broker = Broker({
        "telemetry_raw": errors(KafkaError.INVALID_RECORD, None, KafkaError.INVALID_RECORD),
        "telemetry_raw.dlq": errors(*[refused] * 100_000),
    })  # fmt: skip
    backlog = forwarded(monkeypatch, broker, drain_s=0.3)
    assert backlog.acknowledged == [2]
    assert [topic for topic, *_ in broker.sent if not topic.endswith(".dlq")] == ["telemetry_raw"] * 3
    assert list(backlog.forwarder.held) == ["telemetry_raw.dlq"]


def test_an_alert_overtakes_the_backlog(monkeypatch):
    """It is sent before what was committed long before it; each schema keeps its own order."""
    broker = Broker({})
    rows = [*map(row, range(1, 1_001)), row(1_001, "alert/1"), row(1_002, SiteStatus.SCHEMA), row(1_003)]
    backlog = forwarded(monkeypatch, broker, *rows)
    sent = [(topic, seq) for topic, seq, _ in broker.sent]
    assert sent[:2] == [("alerts", 1_001), ("site_status", 1_002)]
    assert [seq for topic, seq in sent[2:]] == [*range(1, 1_001), 1_003]
    assert len(backlog.acknowledged) == 1_003


def test_a_topic_that_takes_nothing_holds_up_no_other(monkeypatch):
    """Its rows wait and then arrive once, in order; what is in flight meanwhile is not sent twice."""
    unknown = KafkaError._UNKNOWN_TOPIC
    broker = Broker({"predictions": errors(unknown, unknown, unknown)})
    rows = [row(1, "prediction/1"), row(2), row(3, "prediction/1"), row(4), row(5, "prediction/1")]
    backlog = forwarded(monkeypatch, broker, *rows)
    assert sorted(backlog.acknowledged) == [1, 2, 3, 4, 5]
    assert [seq for topic, seq, _ in broker.sent if topic == "telemetry_raw"] == [2, 4]
    assert list(dict.fromkeys(seq for topic, seq, _ in broker.sent if topic == "predictions")) == [1, 3, 5]
    assert backlog.acknowledged.index(1) < backlog.acknowledged.index(3) < backlog.acknowledged.index(5)


def test_what_is_on_its_way_when_a_hold_ends_is_not_sent_twice(monkeypatch):
    """The outbox is read again from the held row; a row not reported yet is left alone."""

    class Late(Broker):
        def poll(self, timeout):
            slow = [(topic, report) for topic, report in self.waiting if topic == "telemetry_raw"]
            taken = [seq for topic, seq, _ in self.sent if topic == "predictions"]
            self.waiting = [pair for pair in self.waiting if pair not in slow]
            super().poll(timeout)
            if len(taken) < 4:
                self.waiting += slow
            else:
                for _, report in slow:
                    report(None, None)

    broker = Late({"predictions": errors(KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_TOPIC)})
    backlog = forwarded(monkeypatch, broker, row(1, "prediction/1"), row(2), row(3, "prediction/1"), row(4))
    assert sorted(backlog.acknowledged) == [1, 2, 3, 4]
    assert [seq for topic, seq, _ in broker.sent if topic == "telemetry_raw"] == [2, 4]


def test_a_full_producer_loses_nothing(monkeypatch):
    """BufferError means later, not never; order is kept."""

    class Full(Broker):
        def produce(self, topic, *rest, **more):
            if len(self.waiting) == 3:
                raise BufferError("Local: Queue full")
            super().produce(topic, *rest, **more)

    broker = Full({})
    backlog = forwarded(monkeypatch, broker, *map(row, range(1, 21)))
    assert backlog.acknowledged == list(range(1, 21))
    assert [seq for _, seq, _ in broker.sent] == list(range(1, 21))


def test_what_is_in_flight_is_bounded_while_kafka_is_silent(monkeypatch):
    """Rows stay in the outbox, with room kept for an alert; nothing is sent twice."""

    class Silent(Broker):
        def poll(self, timeout):
            return

    broker, bound = Silent({}), 500  # fewer than in service: all of them are sent within the time
    monkeypatch.setattr(in_flight, "IN_FLIGHT_ROWS_MAX", bound)
    rows = [*map(row, range(1, 2 * bound)), row(2 * bound, "alert/1")]
    backlog = forwarded(monkeypatch, broker, *rows, drain_s=2.0)
    assert backlog.acknowledged == []
    assert len(broker.sent) == bound - bound // in_flight.URGENT_SHARE
    assert broker.sent[0][0] == "alerts"


def test_bytes_in_flight_are_bounded(monkeypatch):
    """Large records fill the room before their number does."""
    bounds = in_flight.InFlight()
    for seq in range(40):
        bounds.add(seq, 2**20)
    assert len(bounds) == 40
    assert bounds.room(urgent=True) == 0
    for seq in range(40):
        bounds.remove(seq)
    assert bounds.room(urgent=True) == in_flight.IN_FLIGHT_ROWS_MAX


def test_a_fatal_error_that_is_told_before_its_row_blocks_nobody(monkeypatch):
    """Each producer raises first, as a busy machine's does, and reports the rows with the next poll."""
    too_large = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)

    class Hasty(Broker):
        told = False

        def produce(self, topic, body, key, timestamp, headers, on_delivery):
            if int(headers["seq"]) == 2 and not topic.endswith(".dlq"):
                self.answers[topic] = [None] * len(self.waiting) + [too_large]
            super().produce(topic, body, key, timestamp, headers, on_delivery)

        def poll(self, timeout):
            bad = any(each is too_large for answers in self.answers.values() for each in answers)
            if bad and not self.told:
                self.told = True
                raise KafkaException(KafkaError(KafkaError._FATAL, "too large", True))
            self.told = False
            super().poll(timeout)

        def purge(self):
            self.waiting, self.told, self.answers = [], False, {}

    backlog = forwarded(
        monkeypatch, Hasty({}), ROW, ROW._replace(seq=2, number=2), ROW._replace(seq=3, number=3)
    )
    assert sorted(backlog.acknowledged) == [1, 2, 3]
    assert backlog.forwarder.dead_lettered == 1


def test_a_fatal_error_begins_again_with_a_new_producer(monkeypatch):
    """librdkafka raises it from poll; what was not reported is sent again."""

    class Fenced(Broker):
        fatal = True

        def poll(self, timeout):
            if self.fatal and self.waiting:
                self.fatal, self.waiting = False, []
                raise KafkaException(KafkaError(KafkaError._FENCED, "fenced", True))
            super().poll(timeout)

    broker = Fenced({})
    backlog = forwarded(monkeypatch, broker)
    assert backlog.acknowledged == [1, 2]
    assert [seq for _, seq, _ in broker.sent] == [1, 2, 1, 2]


@pytest.mark.parametrize("code", [KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_ENOUGH_REPLICAS])
def test_what_passes_by_itself_is_neither_the_records_fault_nor_the_topics(code):
    """Told apart: such a row is sent again."""
    assert verdict(KafkaError(code)) is Verdict.AGAIN


def test_waits_grow_to_a_bound_and_differ():
    """A fleet whose broker comes back does not come back in one moment."""
    waits = [Backoff(1.0, 30.0) for _ in range(50)]
    assert len({backoff.wait_s() for backoff in waits}) > 40
    late = [waits[0].wait_s() for _ in range(20)]
    assert 15.0 <= min(late[10:]) <= max(late) <= 30.0


def test_a_topic_that_librdkafka_knows_is_missing_is_held_too(monkeypatch):
    """Once it knows, librdkafka refuses at the call, not in a report."""

    class Knows(Broker):
        refusals = 2

        def produce(self, topic, *rest, **more):
            if topic == "predictions" and self.refusals:
                self.refusals -= 1
                raise KafkaException(KafkaError(KafkaError._UNKNOWN_TOPIC))
            super().produce(topic, *rest, **more)

    backlog = forwarded(monkeypatch, Knows({}), row(1, "prediction/1"), row(2), row(3, "prediction/1"))
    assert backlog.acknowledged == [2, 1, 3]


def test_a_broker_that_stays_away_is_logged_once_with_the_reason_that_says_most():
    """Each reconnection fails twice over, in words that differ by a time: no line for each."""
    ours = Forwarder(LateBacklog(threading.Event()), "127.0.0.1:1", "TX01", "c" * 64)
    ingest = Ingest("127.0.0.1:1", [], KnownRows())
    with structlog.testing.capture_logs() as lines:
        for attempt in range(50):
            for part in (ours, ingest):
                part._on_error(KafkaError(KafkaError._TRANSPORT, f"refused (after {attempt}ms)"))
                part._on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
        assert ours.trouble == "refused (after 49ms)"
        for part in (ours, ingest):
            part._on_error(KafkaError(KafkaError._AUTHENTICATION, "wrong password"))
        ours._taken(ROW, "telemetry_raw", None)
        ours._taken(ROW, "telemetry_raw", None)
    assert [line["reason"] for line in lines[:4]] == ["refused (after 0ms)"] * 2 + ["wrong password"] * 2
    assert [line["event"] for line in lines[4:]] == ["Kafka takes records again"]
    assert ours.trouble is None


def test_what_holds_the_forwarder_up_is_a_metric():
    """Each held topic by name, restarts, and that Kafka refuses the site."""
    registry = CollectorRegistry()
    registry.register(
        ForwardCollector(SimpleNamespace(held={"alerts": "missing"}, restarts=3, trouble="refused"))
    )
    assert registry.get_sample_value("edge_forward_held_topic", {"topic": "alerts"}) == 1
    assert registry.get_sample_value("edge_forward_restarts_total") == 3
    assert registry.get_sample_value("edge_forward_trouble") == 1


class Told(LateBacklog):
    """A backlog that keeps each acknowledgement apart."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__(stop)
        self.told: list[list[int]] = []

    def acknowledge(self, seqs):
        self.told.append(list(seqs))
        super().acknowledge(seqs)


class Holding(Broker):
    """Never reports row 1; all others at once."""

    def produce(self, topic, body, key, timestamp, headers, on_delivery):
        super().produce(topic, body, key, timestamp, headers, on_delivery)
        if headers["seq"] == "1":
            self.waiting.pop()


def told_while_one_is_on_its_way(monkeypatch, rows: int, drain_s: float) -> Told:
    stop = threading.Event()
    backlog = Told(stop)
    backlog.rows += map(row, range(1, rows + 1))
    stop.set()
    monkeypatch.setattr(forwarder, "Producer", lambda *_, **__: Holding({}))
    monkeypatch.setattr(forwarder, "BATCH_ROWS_MAX", 10)
    monkeypatch.setattr(forwarder, "ACKED_ROWS_MIN", 50)
    Forwarder(backlog, "127.0.0.1:1", "TX01", "hash").run(stop, drain_s)
    return backlog


def test_a_row_that_stays_on_its_way_lets_no_acknowledgements_pile_up(monkeypatch):
    """What is reported behind it is told at its bound, and all of it at the end."""
    monkeypatch.setattr(forwarder, "ACKED_WAIT_S", 3_600.0)
    backlog = told_while_one_is_on_its_way(monkeypatch, 100, 2.0)
    assert [len(seqs) for seqs in backlog.told] == [59, 40]  # ten are reported at a time
    assert sorted(backlog.acknowledged) == list(range(2, 101))


def test_few_reported_rows_are_told_within_a_time(monkeypatch):
    """A site that sends little does not wait until it has sent much."""
    monkeypatch.setattr(forwarder, "ACKED_WAIT_S", 0.0)
    backlog = told_while_one_is_on_its_way(monkeypatch, 15, 2.0)
    assert [len(seqs) for seqs in backlog.told if seqs] == [9, 5]


def test_rows_before_all_on_their_way_are_told_first(monkeypatch):
    """They cost the outbox one line; what is reported out of order waits until it is in order."""

    class OneIsLate(Broker):
        def poll(self, timeout):
            late = self.waiting[6:7]
            self.waiting = [*self.waiting[:6], *self.waiting[7:]]
            super().poll(timeout)
            self.waiting = late

    stop = threading.Event()
    backlog = Told(stop)
    backlog.rows += map(row, range(1, 201))
    stop.set()
    monkeypatch.setattr(forwarder, "Producer", lambda *_, **__: OneIsLate({}))
    monkeypatch.setattr(forwarder, "BATCH_ROWS_MAX", 10)
    monkeypatch.setattr(forwarder, "ACKED_ROWS_MIN", 30)
    monkeypatch.setattr(forwarder, "ACKED_WAIT_S", 3_600.0)
    assert Forwarder(backlog, "127.0.0.1:1", "TX01", "hash").run(stop, 5.0)
    assert sorted(backlog.acknowledged) == list(range(1, 201))
    for seqs, later in itertools.pairwise(backlog.told):
        assert max(seqs) < min(later)
