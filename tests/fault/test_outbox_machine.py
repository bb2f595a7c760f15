"""The outbox against a model of it, on a disk that fails at any call; kills and power losses between.

Every row 1..last of the store is exactly one of: pending and unchanged, acknowledged, or named by a gap
record. `OUTBOX_EXAMPLES` makes it longer; hypothesis prints the steps of a failure, which replay it.
"""

import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from edge_agent.outbox import Loss, OutboxLimits, OutboxStore, Row, WhenFull, store
from edge_agent.outbox import leaves as leaves_module
from shared.errors import Retryable
from shared.merkle import Frontier, leaf_hash
from shared.schemas import AuditEntry, GapRecord, Outgoing
from tests.support.faulty_disk import FaultyDisk
from tests.support.outbox_account import SITE, explained_rows

EXAMPLES = int(os.environ.get("OUTBOX_EXAMPLES", "12"))
STEPS = 40
KEY = f"{SITE}/R1/coolant_pump"
SCHEMAS = ("telemetry/1", "prediction/1", "alert/1", "status/1", "audit/1")
SMALL = {"pending_rows_max": 60, "pending_bytes_max": 30_000, "acked_rows_kept": 20, "audit_leaves_kept": 5}

batches = st.lists(st.tuples(st.sampled_from(SCHEMAS), st.sampled_from([10, 100, 1_500])), max_size=8)
calls = st.integers(0, 12)


class OutboxMachine(RuleBasedStateMachine):
    """`rows` is what is surely committed; `unsure` a commit that failed, and may stand after a restart."""

    when_full = WhenFull.DROP_OLDEST

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()  # ended by `teardown`
        self.lives = self.made = 0
        self.disk = FaultyDisk()
        self.mounted = self.disk.mounted()
        self.mounted.__enter__()
        self.place = Path(self.folder.name) / "0"
        self.place.mkdir()
        self.rows: dict[int, Outgoing] = {}
        self.leaves: list[bytes] = []
        self.unsure: list[Outgoing] = []
        self.unkept = self.unsure_unkept = 0
        self.acked: set[int] = set()
        self.perhaps_acked: set[int] = set()
        self.explained: set[int] = set()
        self.last = 0
        self.begin()
        self.store_id = self.outbox.store_id

    def begin(self) -> None:
        limits = OutboxLimits(**SMALL, when_full=self.when_full)
        self.outbox = OutboxStore(self.place / "o.db", limits)
        self.outbox.__enter__()

    def teardown(self) -> None:
        self.outbox.__exit__()
        self.mounted.__exit__(None, None, None)
        self.folder.cleanup()

    # --- what happens ----------------------------------------------------------------------------

    @rule(batch=batches)
    def commit(self, batch: list[tuple[str, int]]) -> None:
        records = [self.record(schema, size) for schema, size in batch]
        unkept = Loss(SITE)
        if self.unkept:
            unkept.count("telemetry/1", self.unkept, 1, 2)
        try:
            self.outbox.commit(records, unkept if self.unkept else None)
        except Retryable:
            self.unsure, self.unsure_unkept = records, self.unkept
            self.unkept += len(records)
        else:
            self.stands(records, self.unkept)

    @rule(batch=batches, call=calls, lasting=st.booleans(), full=st.booleans())
    def commit_on_a_bad_disk(
        self, batch: list[tuple[str, int]], call: int, lasting: bool, full: bool
    ) -> None:
        self.disk.fail_at, self.disk.lasting, self.disk.full = call, lasting, full
        self.commit(batch)
        self.disk.work()

    @rule(share=st.floats(0, 1), each=st.sampled_from([1, 1, 2, 3]), call=st.none() | calls)
    def acknowledge(self, share: float, each: int, call: int | None) -> None:
        rows = self.pending()
        some = [row.number for row in rows[: round(share * len(rows))][::-each]]
        self.explained |= {number for _, number in explained_rows(row.record for row in rows)}
        self.disk.fail_at = call
        try:
            self.outbox.acknowledge(some)
        except Retryable:
            self.perhaps_acked |= set(some)
        else:
            self.acked |= set(some)
        self.disk.work()

    @rule(call=st.none() | calls, lasting=st.booleans())
    def reopen(self, call: int | None, lasting: bool) -> None:
        self.disk.fail_at, self.disk.lasting = call, lasting
        self.outbox.__exit__()
        self.begin()
        self.disk.work()
        self.see_what_stands()

    @rule()
    def kill(self) -> None:
        self.die(lambda to: self.disk.killed(self.place, to))

    @rule(seed=st.integers(0, 2**32))
    def lose_power(self, seed: int) -> None:
        self.die(lambda to: self.disk.power_lost(self.place, to, random.Random(seed)))

    def die(self, leave) -> None:
        self.lives += 1
        place = Path(self.folder.name) / str(self.lives)
        leave(place)
        self.outbox.__exit__()
        self.place = place
        self.begin()
        self.see_what_stands()

    # --- the model -------------------------------------------------------------------------------

    def record(self, schema: str, size: int) -> Outgoing:
        self.made += 1
        return Outgoing(schema, KEY, self.made * 7 % 5, f"{self.made} ".encode() * size)

    def stands(self, records: list[Outgoing], unkept: int) -> None:
        """A commit is durable: unkept numbers and their gap record, the records, gap records."""
        start = self.last + 1 + (unkept + 1 if unkept else 0)
        self.rows |= dict(enumerate(records, start))
        self.leaves += [r.body for r in records if r.schema == AuditEntry.SCHEMA]
        self.last = self.outbox.stats().last_seq
        self.unkept = self.unsure_unkept = 0
        self.unsure = []

    def see_what_stands(self) -> None:
        """After a restart the last failed commit stands as a whole or not at all."""
        if (self.unsure or self.unsure_unkept) and self.outbox.stats().last_seq > self.last:
            self.stands(self.unsure, self.unsure_unkept)
        self.unsure, self.unsure_unkept = [], 0

    def pending(self) -> list[Row]:
        return self.outbox.pending(0, 100_000)

    @precondition(lambda self: self.disk.fail_at is None)
    @invariant()
    def every_row_is_answered_for(self) -> None:
        rows = self.pending()
        numbers = [row.number for row in rows]
        assert numbers == sorted(set(numbers))
        assert {row.store_id for row in rows} <= {self.store_id}
        for row in rows:
            if row.record.schema != GapRecord.SCHEMA:
                assert row.record == self.rows[row.number], f"row {row.number} changed"
        self.explained |= {number for _, number in explained_rows(row.record for row in rows)}
        kept = set(numbers)
        assert not kept & self.acked, "an acknowledged row is pending again"
        assert not kept & self.explained, "a row that is given up is pending"
        lost = set(range(1, self.last + 1)) - kept - self.explained - self.acked - self.perhaps_acked
        assert not lost, f"neither kept nor explained: {sorted(lost)}"

    @precondition(lambda self: self.disk.fail_at is None)
    @invariant()
    def the_bound_and_the_log_hold(self) -> None:
        stats = self.outbox.stats()
        assert stats.pending_rows == len(self.pending()) <= SMALL["pending_rows_max"]
        assert stats.pending_bytes <= SMALL["pending_bytes_max"]
        assert stats.last_seq == self.last
        whole = Frontier(leaf_hash(leaf) for leaf in self.leaves)
        assert self.outbox.audit_log().to_bytes() == whole.to_bytes()
        kept = list(self.outbox.audit_leaves())
        assert kept == self.leaves[len(self.leaves) - len(kept) :]
        assert not list(self.place.glob("*.damaged-*")), "a sound file was taken for a damaged one"


class RefusingMachine(OutboxMachine):
    """The same with `drop_newest`."""

    when_full = WhenFull.DROP_NEWEST


@pytest.mark.slow
@pytest.mark.parametrize("machine", [OutboxMachine, RefusingMachine])
def test_no_row_is_lost_reordered_or_renumbered_on_a_failing_disk(machine, monkeypatch):
    """Commits, acknowledgements, restarts, kills, power losses and failing calls in any order."""
    monkeypatch.setattr(store, "REOPEN_WAIT_S", 0.0)
    monkeypatch.setattr(store, "PRUNE_EVERY_COMMITS", 3)
    monkeypatch.setattr(store, "FREE_PAGES_KEPT", 2)
    monkeypatch.setattr(leaves_module, "FOLD_ROWS", 3)
    chosen = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(machine, settings=chosen)
