"""When the bound is reached: what gives way, and the record that says so (invariant 2)."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from shared.schemas import GapRecord, PredictionRecord, Telemetry

EVICTABLE = (Telemetry.SCHEMA, PredictionRecord.SCHEMA)  # alerts, audit and status never give way to them
EVICTION_ROWS_MIN = 1_000  # one gap record for many rows, not one each


def evict_oldest(db: sqlite3.Connection, store_id: str, excess: int) -> int:
    """Drop the oldest evictable pending rows if `excess` > 0; return the change in pending rows.

    Each unbroken run of dropped row numbers becomes one gap record in the same transaction.
    """
    if excess <= 0:
        return 0
    found = db.execute(
        "SELECT seq, key FROM records WHERE acked_ms IS NULL AND schema IN (?, ?) ORDER BY seq LIMIT ?",
        (*EVICTABLE, max(excess, EVICTION_ROWS_MIN)),
    ).fetchall()
    if not found:
        return 0
    seqs = [seq for seq, _ in found]
    db.executemany("DELETE FROM records WHERE seq = ?", [(seq,) for seq in seqs])
    site = found[0][1].split("/", 1)[0]
    gaps = [_gap(site, store_id, first, last).outgoing() for first, last in runs(seqs)]
    db.executemany("INSERT INTO records (schema, key, time_ms, body) VALUES (?, ?, ?, ?)", gaps)
    return len(gaps) - len(seqs)


def runs(seqs: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The unbroken runs `(first, last)` of ascending numbers."""
    first = last = seqs[0]
    for seq in seqs[1:]:
        if seq != last + 1:
            yield first, last
            first = seq
        last = seq
    yield first, last


def _gap(site: str, store_id: str, first: int, last: int) -> GapRecord:
    return GapRecord(
        timestamp=datetime.fromtimestamp(time.time(), UTC),
        site_id=site,
        store_id=store_id,
        from_seq=first,
        to_seq=last,
        count=last - first + 1,
        reason="outbox_full",
    )
