"""Outbox -> Kafka's protocol -> lake, with real librdkafka on both sides."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer

from control_plane.ingest.consumer import Ingest
from control_plane.ingest.known_rows import KnownRows
from control_plane.sinks.arrival import Arrival
from control_plane.sinks.lake import LakeReader, LakeWriter
from edge_agent.forward import Forwarder
from edge_agent.outbox import OutboxStore, Row
from shared.errors import Retryable
from shared.listen import free_port
from shared.schemas import Outgoing, Telemetry, utc_now
from tests.support.services import running

DEADLINE_S = 30.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def telemetry(cycle: int, component: str = "coolant_pump") -> Outgoing:
    return Telemetry(
        timestamp=utc_now(),
        site_id="TX01",
        reactor_id="R1",
        component=component,
        cycle=cycle,
        metrics={"flow_rate": float(cycle)},
    ).outgoing()


class OneThread:
    """A backlog over a store that only one thread touches, as in the agent."""

    def __init__(self, path: Path) -> None:
        self.store = OutboxStore(path)
        self.thread = ThreadPoolExecutor(1)
        self.ask(self.store.__enter__)

    def ask(self, work, *arguments):
        return self.thread.submit(work, *arguments).result()

    @property
    def store_id(self) -> str:
        return self.store.store_id

    def pending(self, after_seq: int, limit: int, *, urgent: bool = False) -> list[Row]:
        return self.ask(partial(self.store.pending, after_seq, limit, urgent=urgent))

    def acknowledge(self, seqs: Sequence[int]) -> None:
        self.ask(self.store.acknowledge, seqs)

    def pending_rows(self) -> int:
        return self.ask(self.store.stats).pending_rows


@pytest.fixture
def bootstrap() -> Iterator[str]:
    port = free_port()
    with running("control-plane", "broker", "--listen", f"127.0.0.1:{port}", port=port):
        yield f"127.0.0.1:{port}"


@contextmanager
def thread(run: Callable[..., None], *arguments: object) -> Iterator[None]:
    stop = threading.Event()
    worker = threading.Thread(target=run, args=(stop, *arguments))
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join(DEADLINE_S)
        assert not worker.is_alive()


@contextmanager
def forwarding(backlog: OneThread, bootstrap: str) -> Iterator[Forwarder]:
    forwarder = Forwarder(backlog, bootstrap, "TX01", "c" * 64)
    with thread(forwarder.run, 0.0):
        yield forwarder


@contextmanager
def ingesting(
    lake: Path, bootstrap: str, *before: object, client: Mapping[str, str] | None = None
) -> Iterator[Ingest]:
    writer = LakeWriter(lake)
    writer.create()
    ingest = Ingest(bootstrap, [*before, writer], KnownRows(LakeReader(lake).spans()), client)
    with thread(ingest.run):
        yield ingest


def lake_cycles(lake: Path, component: str) -> list[int]:
    sql = "SELECT cycle FROM telemetry WHERE component = $component ORDER BY seq"
    return [row["cycle"] for row in LakeReader(lake).rows(sql, component=component)]


def test_every_committed_record_is_in_the_lake_once_and_in_order(tmp_path, bootstrap):
    """What the outbox held is in the lake exactly once, in order per component; the outbox is empty."""
    backlog = OneThread(tmp_path / "o.db")
    for cycle in range(200):
        backlog.ask(backlog.store.commit, [telemetry(cycle), telemetry(cycle, "heat_exchanger")])
    with ingesting(tmp_path / "lake", bootstrap) as ingest, forwarding(backlog, bootstrap):
        until(lambda: ingest.accepted == 400)
        until(lambda: backlog.pending_rows() == 0)
    assert lake_cycles(tmp_path / "lake", "coolant_pump") == list(range(200))
    assert lake_cycles(tmp_path / "lake", "heat_exchanger") == list(range(200))
    assert LakeReader(tmp_path / "lake").spans() == {backlog.store_id: [(1, 400)]}


def test_a_record_sent_twice_is_in_the_lake_once(tmp_path, bootstrap):
    """A second forwarder over an outbox that forgot its acknowledgements changes nothing in the lake."""
    backlog = OneThread(tmp_path / "o.db")
    backlog.ask(backlog.store.commit, [telemetry(cycle) for cycle in range(50)])
    backlog.acknowledge = lambda seqs: None  # as if the process died before it noted the reports
    with ingesting(tmp_path / "lake", bootstrap) as first, forwarding(backlog, bootstrap):
        until(lambda: first.accepted == 50)
    with ingesting(tmp_path / "lake", bootstrap) as second, forwarding(backlog, bootstrap):
        until(lambda: second.repeats >= 50)
    assert lake_cycles(tmp_path / "lake", "coolant_pump") == list(range(50))


def test_a_new_broker_at_the_same_address_is_found_again(tmp_path):
    """When the broker dies and another takes its address, forwarder and ingest go on by themselves."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    backlog = OneThread(tmp_path / "o.db")
    with ingesting(tmp_path / "lake", address) as ingest, forwarding(backlog, address):
        for generation in (0, 1):
            with running("control-plane", "broker", "--listen", address, port=port):
                cycles = range(generation * 10, generation * 10 + 10)
                backlog.ask(backlog.store.commit, [telemetry(cycle) for cycle in cycles])
                until(lambda: ingest.accepted == 10 * (generation + 1))
    assert lake_cycles(tmp_path / "lake", "coolant_pump") == list(range(20))


def test_offsets_wait_for_the_sink(tmp_path, bootstrap):
    """While a sink says "not now" nothing is committed; the batch arrives when it is ready, once."""

    class Slow:
        refusals = 2

        def accept(self, batch: Sequence[Arrival]) -> None:
            if self.refusals:
                self.refusals -= 1
                raise Retryable("the disk is full")

    backlog = OneThread(tmp_path / "o.db")
    backlog.ask(backlog.store.commit, [telemetry(cycle) for cycle in range(5)])
    slow = Slow()
    with ingesting(tmp_path / "lake", bootstrap, slow) as ingest, forwarding(backlog, bootstrap):
        until(lambda: ingest.accepted == 5)
    assert slow.refusals == 0
    assert lake_cycles(tmp_path / "lake", "coolant_pump") == list(range(5))


def test_what_cannot_be_read_is_set_aside_with_its_origin(tmp_path, bootstrap):
    """A message that is no record of ours goes to the dead letters with reason and origin; others go on."""
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce("telemetry_raw", b"{}", "TX01/R1/coolant_pump", headers={"schema": "telemetry/1"})
    producer.flush(10)
    backlog = OneThread(tmp_path / "o.db")
    backlog.ask(backlog.store.commit, [telemetry(1)])
    with ingesting(tmp_path / "lake", bootstrap) as ingest, forwarding(backlog, bootstrap):
        until(lambda: ingest.accepted == 1 and ingest.dead_letters == 1)
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "t", "auto.offset.reset": "earliest"})
    reader.subscribe(["telemetry_raw.dlq"])
    [message] = reader.consume(1, DEADLINE_S)
    reader.close()
    marks = dict(message.headers())
    assert marks["reason"] == b"missing headers: site, store_id, seq, config_hash"
    assert marks["origin"].startswith(b"telemetry_raw/")
    assert message.value() == b"{}"
