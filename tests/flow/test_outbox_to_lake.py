"""Outbox -> Kafka's protocol -> lake, with real librdkafka on both sides."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer

from control_plane.sinks.arrival import Arrival
from control_plane.sinks.lake import LakeReader
from shared.errors import Retryable
from shared.listen import free_port
from tests.support.pipeline import DEADLINE_S, OneThread, broker, forwarding, ingesting, telemetry, until
from tests.support.services import running


@pytest.fixture
def bootstrap() -> Iterator[str]:
    with broker() as address:
        yield address


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
