"""Holds an outbox against what was committed: each row kept, acknowledged or explained, none changed."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from edge_agent.outbox import OutboxStore, Replaced
from shared.merkle import Frontier, leaf_hash
from shared.schemas import URGENT_SCHEMAS, AuditEntry, GapRecord, Outgoing

SITE = "TX01"
Name = tuple[str, int]  # store id and number


@dataclass
class Account:
    """What was committed, by the id and number that it was given."""

    rows: dict[Name, Outgoing] = field(default_factory=dict)
    acked: set[Name] = field(default_factory=set)
    leaves: list[bytes] = field(default_factory=list)

    def committed(self, store_id: str, last: int, records: Iterable[Outgoing]) -> None:
        """Note a commit whose last row has number `last`."""
        records = list(records)
        for number, record in enumerate(records, last - len(records) + 1):
            self.rows[store_id, number] = record
        self.leaves += [r.body for r in records if r.schema == AuditEntry.SCHEMA]

    def check(self, store: OutboxStore) -> tuple[set[Name], set[Name]]:
        """Nothing lost unexplained, changed, doubled or out of order; returns what is kept and explained."""
        settle(store)
        rows = store.pending(0, 1_000_000)
        order = [row.seq for row in rows]
        assert order == sorted(set(order))
        kept = {(row.store_id, row.number) for row in rows}
        urgent = store.pending(0, 1_000_000, urgent=True)
        assert urgent == [row for row in rows if row.record.schema in URGENT_SCHEMAS]
        for row in rows:
            if row.record.schema != GapRecord.SCHEMA:
                assert self.rows[row.store_id, row.number] == row.record
        explained = explained_rows(row.record for row in rows)
        lost = self.rows.keys() - kept - explained - self.acked
        assert not lost, f"neither kept nor explained: {sorted(lost)[:20]}"
        assert store.audit_log().to_bytes() == Frontier(leaf_hash(x) for x in self.leaves).to_bytes()
        return kept, explained


def settle(store: OutboxStore) -> None:
    """Put on the record what befell rows, as the recorder does."""
    with suppress(Replaced):
        store.pending(0, 1_000_000)
    incidents = store.incidents(SITE)
    if incidents:
        gaps = [gap.outgoing() for incident in incidents for gap in incident.gaps]
        store.commit(gaps, settled=[incident.number for incident in incidents])


def explained_rows(records: Iterable[Outgoing]) -> set[Name]:
    """The rows that gap records among these name."""
    gaps = [GapRecord.model_validate_json(r.body) for r in records if r.schema == GapRecord.SCHEMA]
    return {(g.store_id, n) for g in gaps for first, last in g.explained() for n in range(first, last + 1)}
