"""The records that explain a loss, to the row (invariant 2). Pure, but for the time they are made."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal, Self

from edge_agent.outbox.rows import Stores
from shared.schemas import GapRecord, utc_now

RUNS_MAX = 1_000  # unbroken runs that one gap record names: about 15 kB

Reason = Literal["outbox_full", "corrupt", "disk_full", "rejected"]
Run = tuple[int, int]


def runs(seqs: Iterable[int]) -> list[Run]:
    """The unbroken runs `(first, last)` of these numbers."""
    ordered = sorted(seqs)
    if not ordered:
        return []
    breaks = [(a, b) for a, b in pairwise(ordered) if b > a + 1]
    return list(
        zip([ordered[0], *(b for _, b in breaks)], [*(a for a, _ in breaks), ordered[-1]], strict=True)
    )


def merged(parts: Iterable[Run]) -> list[Run]:
    """The unbroken runs that cover the same numbers as `parts`."""
    found: list[Run] = []
    for first, last in sorted(parts):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


@dataclass
class Loss:
    """What was given up: rows by their place in the file, and what they held."""

    site_id: str = ""
    seqs: list[Run] = field(default_factory=list)
    by_schema: Counter[str] = field(default_factory=Counter)
    from_ms: int | None = None
    to_ms: int | None = None

    def add(self, seq: int, schema: str, key: str, time_ms: int) -> None:
        """One row more."""
        self.site_id = key.split("/", 1)[0]
        self.seqs.append((seq, seq))
        self.count(schema, 1, time_ms, time_ms)

    def count(self, schema: str, rows: int, from_ms: int, to_ms: int) -> None:
        """Note what rows held, without their places."""
        self.by_schema[schema] += rows
        self.from_ms = from_ms if self.from_ms is None else min(self.from_ms, from_ms)
        self.to_ms = to_ms if self.to_ms is None else max(self.to_ms, to_ms)

    def records(self, stores: Stores, reason: Reason) -> Iterator[GapRecord]:
        """Gap records that name every row once: one a store, more where there are many runs."""
        by_store: dict[str, list[Run]] = {}
        for run in merged(self.seqs):
            for store_id, first, last in stores.split(*run):
                by_store.setdefault(store_id, []).append((first, last))
        told = self
        for store_id, named in by_store.items():
            for start in range(0, len(named), RUNS_MAX):
                yield gap_record(self.site_id, store_id, reason, named[start : start + RUNS_MAX], told)
                told = Loss()  # what they held is told once

    @classmethod
    def of(cls, gap: GapRecord) -> Self:
        """What a gap record says, without its rows."""
        loss = cls(gap.site_id, by_schema=Counter(gap.by_schema))
        loss.from_ms, loss.to_ms = _ms(gap.from_time), _ms(gap.to_time)
        return loss


def gap_record(site_id: str, store_id: str, reason: Reason, named: list[Run], told: Loss) -> GapRecord:
    """One gap record of `named` runs; `told` says what they held."""
    return GapRecord(
        timestamp=utc_now(),
        site_id=site_id,
        store_id=store_id,
        from_seq=named[0][0],
        to_seq=named[-1][1],
        count=sum(last - first + 1 for first, last in named),
        reason=reason,
        runs=tuple(named) if len(named) > 1 else (),
        by_schema=dict(told.by_schema),
        from_time=_time(told.from_ms),
        to_time=_time(told.to_ms),
    )


def with_itself(gap: GapRecord, number: int) -> GapRecord:
    """The record to put in the place of `gap`, whose own row `number` is given up with it."""
    told = Loss.of(gap)
    told.by_schema[GapRecord.SCHEMA] += 1
    named = merged([*gap.explained(), (number, number)])
    return gap_record(gap.site_id, gap.store_id, gap.reason, named, told)


def joined(older: GapRecord, newer: GapRecord) -> GapRecord | None:
    """One record for two of a store and a reason; None where they would name too many runs."""
    named = merged([*older.explained(), *newer.explained()])
    if len(named) > RUNS_MAX:
        return None
    told = Loss.of(newer)
    told.by_schema += Counter(older.by_schema)
    times = [t for t in (older.from_time, older.to_time, newer.from_time, newer.to_time) if t is not None]
    told.from_ms, told.to_ms = _ms(min(times, default=None)), _ms(max(times, default=None))
    return gap_record(newer.site_id, newer.store_id, newer.reason, named, told)


def _ms(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp() * 1000)


def _time(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)
