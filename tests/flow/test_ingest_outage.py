"""A sink that is away: the consumer keeps its place in the group, and nothing is fetched meanwhile."""

import threading
import time

import pytest
from confluent_kafka import Consumer

from control_plane.ingest import consumer
from control_plane.ingest.consumer import Ingest, next_offsets
from control_plane.ingest.known_rows import KnownRows
from shared.errors import Retryable
from tests.support.pipeline import OneThread, broker, forwarding, telemetry, thread, until

POLL_INTERVAL_S = 3.0  # after which a consumer that does not poll has left its group
AWAY_S = POLL_INTERVAL_S + 2
ROWS = 300


class AwayAtFirst:
    """A sink that says "not now" for a time, and remembers what it took."""

    def __init__(self) -> None:
        self.seqs, self.asked, self.until_s = [], 0, 0.0

    def accept(self, batch) -> None:
        self.until_s = self.until_s or time.monotonic() + AWAY_S
        self.asked += 1
        if time.monotonic() < self.until_s:
            raise Retryable("not now")
        self.seqs += [arrival.envelope.seq for arrival in batch]


@pytest.mark.slow
def test_a_long_sink_outage_costs_neither_the_place_in_the_group_nor_a_record(tmp_path, monkeypatch):
    """Away for longer than a silent consumer may be: no partition is lost, each record comes once."""
    lost: list[object] = []

    class Watched(Consumer):
        def subscribe(self, topics: list[str]) -> None:
            super().subscribe(topics, on_lost=lambda _, places: lost.append(places))

    def hasty(*arguments):
        limit = int(POLL_INTERVAL_S * 1000)
        own = {"session.timeout.ms": limit, "max.poll.interval.ms": limit, "heartbeat.interval.ms": 500}
        return settings(*arguments) | own

    settings = consumer.consumer_config
    monkeypatch.setattr(consumer, "consumer_config", hasty)
    monkeypatch.setattr(consumer, "Consumer", Watched)
    monkeypatch.setattr(consumer, "BATCH_MESSAGES_MAX", 50)
    backlog, sink = OneThread(tmp_path / "o.db"), AwayAtFirst()
    backlog.ask(backlog.store.commit, [telemetry(n) for n in range(ROWS)])
    with broker() as address, forwarding(backlog, address):
        ingest = Ingest(address, [sink], KnownRows(), topics=["telemetry_raw"])
        with thread(ingest.run):
            until(lambda: len(sink.seqs) == ROWS)
    assert sink.asked > AWAY_S / 2
    assert (lost, sink.seqs, ingest.repeats) == ([], list(range(1, ROWS + 1)), 0)


def test_offsets_are_those_of_the_batch_and_no_others():
    """Of each partition the one after its last message: what was handed out meanwhile is not committed."""

    class At:
        def __init__(self, *place: object) -> None:
            self.place = place

        topic = property(lambda self: lambda: self.place[0])
        partition = property(lambda self: lambda: self.place[1])
        offset = property(lambda self: lambda: self.place[2])

    batch = [At("a", 0, 4), At("a", 1, 9), At("a", 0, 5), At("b", 0, 0)]
    found = {(each.topic, each.partition): each.offset for each in next_offsets(batch)}
    assert found == {("a", 0): 6, ("a", 1): 10, ("b", 0): 1}


@pytest.mark.slow
def test_a_message_that_comes_while_a_sink_is_away_is_the_next_batchs_first():
    """A partition that a rebalance brings may hand one out before it is paused."""
    stop, early, handed = threading.Event(), [], []

    class Brought:
        def assignment(self) -> list[object]:
            return []

        def pause(self, places: object) -> None:
            pass

        resume = pause

        def poll(self, _: float) -> object:
            if handed:
                time.sleep(0.01)
                return None
            handed.append("message")
            return type("M", (), {"error": lambda self: None, "__len__": lambda self: 3})()

        def consume(self, *_: object) -> list[object]:
            return []

    waits = consumer._StaysInGroup(stop, Brought(), early)
    assert not waits.wait(0.05)
    ingest = Ingest("127.0.0.1:1", [], KnownRows())
    ingest._early = early
    assert [len(messages) for messages in ingest._gather(Brought())] == [1]
    assert early == []
