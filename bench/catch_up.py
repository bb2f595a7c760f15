"""A backlog of 1,000,000 records in the outbox is forwarded, against the same producer fed from memory.

*The same producer* is the agent's own forwarder, with its headers, order, delivery reports and lanes; only
reading rows and noting acknowledgements cost nothing there. A bare loop over librdkafka with one constant set
of headers, which can neither tell what arrived nor send a row again, is shown beside them.
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer

from edge_agent.forward import Forwarder
from edge_agent.forward.settings import producer_config
from edge_agent.outbox import Outbox, OutboxLimits, OutboxStore, Row
from shared import collector
from shared.envelope import headers
from shared.schemas import Outgoing

RECORDS = 1_000_000
COMPONENTS = 100
ROWS_PER_COMMIT = 5_000
TOPIC = "telemetry_raw"
DRAIN_S = 600.0
BODY = b'{"metrics":' + b"1" * 288 + b"}"
FLUSH_S = 60.0

Figures = dict[str, float]


def catch_up(path: Path, bootstrap: str) -> Figures:
    """Records per second of the three, and the ratio of the first two."""
    collector.settle()  # for all, as the agent does
    bare_s = _bare(bootstrap)
    memory_s = _from_memory(bootstrap)
    ours_s = asyncio.run(_from_outbox(path, bootstrap))
    figures = {
        "catch_up_records_per_s": round(RECORDS / ours_s),
        "memory_records_per_s": round(RECORDS / memory_s),
        "bare_producer_records_per_s": round(RECORDS / bare_s),
        "catch_up_ratio": round(memory_s / ours_s, 2),
    }
    print(
        f"catch-up  {figures['catch_up_records_per_s']:,} records/s from the outbox, "
        f"{figures['memory_records_per_s']:,} from memory; ratio {figures['catch_up_ratio']} "
        f"(a bare loop: {figures['bare_producer_records_per_s']:,})"
    )
    return figures


class MemoryBacklog:
    """Records that cost nothing to read and nothing to forget."""

    store_id = "0" * 36

    def pending(self, after_seq: int, limit: int, *, urgent: bool = False) -> list[Row]:
        """The next rows; none is urgent."""
        last = after_seq if urgent else min(after_seq + limit, RECORDS)
        return [Row(seq, _record(seq), self.store_id, seq) for seq in range(after_seq + 1, last + 1)]

    def acknowledge(self, seqs: Sequence[int]) -> None:
        """They are not asked for again."""


def _from_memory(bootstrap: str) -> float:
    """Seconds until the forwarder has delivered what it is given from memory."""
    forwarder, stop = Forwarder(MemoryBacklog(), bootstrap, "BENCH", "0" * 64), threading.Event()
    stop.set()
    began_s = time.perf_counter()
    if not forwarder.run(stop, DRAIN_S) or forwarder.delivered != RECORDS:
        raise RuntimeError(f"{forwarder.delivered} of {RECORDS} records were delivered")
    return time.perf_counter() - began_s


def _record(number: int) -> Outgoing:
    return Outgoing("telemetry/1", f"BENCH/R1/unit_{number % COMPONENTS}", 1_767_225_600_000 + number, BODY)


async def _from_outbox(path: Path, bootstrap: str) -> float:
    """Seconds until every row of the backlog is acknowledged, its own reading and marking included."""
    store = OutboxStore(path, OutboxLimits(pending_rows_max=RECORDS))
    stop = threading.Event()
    async with Outbox(store) as outbox:
        for first in range(0, RECORDS, ROWS_PER_COMMIT):
            await outbox.commit([_record(first + i) for i in range(ROWS_PER_COMMIT)])
        forwarder = Forwarder(outbox, bootstrap, "BENCH", "0" * 64)
        stop.set()  # it ends when nothing is left
        began_s = time.perf_counter()
        drained = await asyncio.to_thread(forwarder.run, stop, DRAIN_S)
        took_s = time.perf_counter() - began_s
        left = (await outbox.stats()).pending_rows
    if not drained or left:
        raise RuntimeError(f"{left} rows were not forwarded within {DRAIN_S:.0f} s")
    return took_s


def _bare(bootstrap: str) -> float:
    """Seconds until a bare loop has delivered every record."""
    producer = Producer(producer_config(bootstrap, "BENCH", {}))
    marks = headers(_record(0), "0" * 36, RECORDS, "0" * 64)
    delivered = 0

    def count(error: KafkaError | None, _: Message) -> None:
        nonlocal delivered
        delivered += error is None

    began_s = time.perf_counter()
    for number in range(RECORDS):
        record = _record(number)
        while True:
            try:
                producer.produce(
                    TOPIC, record.body, record.key, timestamp=record.time_ms, headers=marks, on_delivery=count
                )
                break
            except BufferError:  # librdkafka's queue is full: let it send
                producer.poll(0.05)
        if number % 500 == 0:
            producer.poll(0)
    producer.flush(FLUSH_S)
    took_s = time.perf_counter() - began_s
    if delivered != RECORDS:
        raise RuntimeError(f"{delivered} of {RECORDS} records were delivered")
    return took_s
