"""The forwarder's promises that need no broker."""

import threading

from confluent_kafka import KafkaError

from edge_agent.forward import Forwarder, forwarder
from edge_agent.outbox import Row
from shared.schemas import Outgoing

ROW = Row(1, Outgoing("telemetry/1", "TX01/R1/pump", 0, b"{}"), "s", 1)


class LateBacklog:
    """The agent's last rows become durable while the forwarder waits, just before it is told to end."""

    store_id = "store"

    def __init__(self, stop: threading.Event) -> None:
        self.rows: list[Row] = []
        self.acknowledged: list[int] = []
        self.stop = stop

    def pending(self, after_seq, limit):
        return [row for row in self.rows if row.seq > after_seq]

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


def forwarded(monkeypatch, broker: Broker) -> LateBacklog:
    """Two rows through this broker until nothing is left."""
    stop = threading.Event()
    backlog = LateBacklog(stop)
    backlog.rows += [ROW, ROW._replace(seq=2, number=2)]
    stop.set()
    monkeypatch.setattr(forwarder, "Producer", lambda *_, **__: broker)
    monkeypatch.setattr(forwarder, "RESTART_WAIT_S", 0.0)
    original = backlog.pending
    backlog.pending = lambda after, limit: [
        row for row in original(after, limit) if row.seq not in backlog.acknowledged
    ]
    assert Forwarder(backlog, "127.0.0.1:1", "TX01", "hash").run(stop, 5.0)
    return backlog


def test_a_row_whose_delivery_failed_is_not_acknowledged_and_is_sent_again(monkeypatch):
    broker = Broker({"telemetry_raw": [KafkaError(KafkaError._FAIL)]})
    backlog = forwarded(monkeypatch, broker)
    assert sorted(backlog.acknowledged) == [1, 2]
    assert [seq for _, seq, _ in broker.sent] == [1, 2, 1]


def test_a_row_that_the_broker_can_never_take_is_set_aside_and_holds_up_nobody(monkeypatch):
    broker = Broker({"telemetry_raw": [KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)]})
    backlog = forwarded(monkeypatch, broker)
    assert sorted(backlog.acknowledged) == [1, 2]
    assert broker.sent[-1] == ("telemetry_raw.dlq", 1, b"")
