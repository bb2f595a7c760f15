"""When the bound is reached: what gives way, and the record that says so (invariant 2).

The order is strict: nothing of a later group goes while anything of an earlier one is pending. Audit
entries go last; gap records never go, they are joined. So the bound holds whatever the site records.
"""

from collections.abc import Iterable, Sequence
from itertools import islice

from edge_agent.outbox.gaps import Loss, joined, with_itself
from edge_agent.outbox.limits import OutboxLimits
from edge_agent.outbox.records import Held, Records
from edge_agent.outbox.rows import Stores
from shared.errors import Retryable
from shared.schemas import (
    Alert,
    AuditEntry,
    GapRecord,
    Outgoing,
    PredictionRecord,
    SignedCheckpoint,
    SiteStatus,
    Telemetry,
)

EVICTABLE = (Telemetry.SCHEMA, PredictionRecord.SCHEMA)
GIVES_WAY = (EVICTABLE, (SiteStatus.SCHEMA, SignedCheckpoint.SCHEMA), (Alert.SCHEMA,), (AuditEntry.SCHEMA,))
EVICTION_ROWS_MIN = 1_000  # one gap record for many rows, not one each; a tenth of the bound at most
EVICTION_BYTES_SHARE = 64  # of the bound in bytes, one part is freed at a time
EVICTION_ROWS_MAX = 10_000  # in one gap record: bounds the statement
OPEN_SHARE = 0.9  # with drop_newest, telemetry and predictions may fill so much: the rest is for what matters


def make_room(records: Records, stores: Stores, limits: OutboxLimits) -> None:
    """Drop the oldest rows of the least needed schemas until the bound holds; each has its gap record."""
    for schemas in GIVES_WAY:
        while max(records.counts.over(limits)) > 0:
            chosen = _enough(records.oldest(schemas), *_wanted(records, limits))
            if not chosen:
                break
            _give_up(records, stores, chosen)
            records.counts.emptied[schemas] = chosen[-1].seq
    if max(records.counts.over(limits)) > 0:
        _join_gaps(records, stores)
    if max(records.counts.over(limits)) > 0:
        raise Retryable(f"the outbox is full of what is never dropped: {records.counts.pending_rows} rows")


def _wanted(records: Records, limits: OutboxLimits) -> tuple[int, int]:
    """Rows and bytes to free: what is over, and some more, so that the next commits find room."""
    rows, size = records.counts.over(limits)
    more = min(EVICTION_ROWS_MIN, limits.pending_rows_max // 10)
    return (
        rows + more if rows > 0 else 0,
        size + limits.pending_bytes_max // EVICTION_BYTES_SHARE if size > 0 else 0,
    )


def _enough(oldest: Iterable[Held], rows: int, size_bytes: int) -> list[Held]:
    chosen: list[Held] = []
    for held in oldest:
        if (len(chosen) >= rows and size_bytes <= 0) or len(chosen) == EVICTION_ROWS_MAX:
            break
        chosen.append(held)
        size_bytes -= held.size_bytes
    return chosen


def _give_up(records: Records, stores: Stores, chosen: Sequence[Held]) -> None:
    loss = Loss()
    for seq, schema, key, time_ms, _ in chosen:
        loss.add(seq, schema, key, time_ms)
    records.remove(held.seq for held in chosen)
    records.append([gap.outgoing() for gap in loss.records(stores, "outbox_full")])


def refuse_new(records: Records, stores: Stores, limits: OutboxLimits, new: Sequence[Outgoing]) -> bool:
    """Append `new` without its telemetry and predictions, if those have filled their share; say whether.

    The refused rows have numbers, which the newest gap record explains.
    """
    if max(records.counts.over(limits, OPEN_SHARE)) <= 0 or all(r.schema not in EVICTABLE for r in new):
        return False
    loss = Loss()
    for seq, record in enumerate(new, records.counts.last_seq + 1):
        if record.schema in EVICTABLE:
            loss.add(seq, record.schema, record.key, record.time_ms)
    records.append([None if record.schema in EVICTABLE else record for record in new])
    records.counts.given_up_rows += len(loss.seqs)
    for gap in loss.records(stores, "outbox_full"):
        _say(records, stores, gap)
    return True


def _say(records: Records, stores: Stores, gap: GapRecord) -> None:
    """Append a gap record, in the place of the newest row where that is one it can be joined with."""
    newest = records.counts.newest_gap
    body = records.body(newest)
    if body is not None:
        older = GapRecord.model_validate_json(body)
        store_id, number = stores.place(newest)
        if older.reason == gap.reason and older.store_id == gap.store_id == store_id:
            gap_with_older = joined(with_itself(older, number), gap)
            if gap_with_older is not None:
                records.remove([newest])
                gap = gap_with_older
    records.append([gap.outgoing()])
    records.counts.newest_gap = records.counts.last_seq


def _join_gaps(records: Records, stores: Stores) -> None:
    """Put the oldest pending gap records together, as far as they fit."""
    kept: GapRecord | None = None
    for held in list(islice(records.oldest((GapRecord.SCHEMA,)), EVICTION_ROWS_MAX)):
        gap = GapRecord.model_validate_json(records.body(held.seq) or b"")
        store_id, number = stores.place(held.seq)
        if gap.reason != "outbox_full" or gap.store_id != store_id:
            continue
        records.remove([held.seq])
        own = with_itself(gap, number)
        both = None if kept is None else joined(kept, own)
        if kept is not None and both is None:
            records.append([kept.outgoing()])
        kept = both or own
    if kept is not None:
        records.append([kept.outgoing()])
