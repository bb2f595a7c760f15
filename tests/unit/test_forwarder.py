"""The forwarder's promises that need no broker."""

import threading

from edge_agent.forward import Forwarder, forwarder
from edge_agent.outbox import Row
from shared.schemas import Outgoing

ROW = Row(1, Outgoing("telemetry/1", "TX01/R1/pump", 0, b"{}"))


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
