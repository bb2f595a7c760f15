"""The outbox keeps what was committed, in order, once, within its bound."""

import itertools
import sqlite3
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database, Migrations

from edge_agent.outbox import Loss, OutboxLimits, OutboxStore, WhenFull
from edge_agent.outbox.file import WAL_BYTES_KEPT
from edge_agent.outbox.gaps import runs
from edge_agent.outbox.schema import IS_URGENT, first_tables
from edge_agent.outbox.store import FREE_PAGES_KEPT
from shared.errors import Retryable
from shared.merkle import Frontier, leaf_hash
from shared.schemas import GapRecord, Outgoing

KEY = "TX01/R1/coolant_pump"


def reading(number: int) -> Outgoing:
    return Outgoing("telemetry/1", KEY, number, str(number).encode())


def leaf(number: int) -> Outgoing:
    return Outgoing("audit/1", "TX01", number, f"leaf {number}".encode())


def alert(number: int) -> Outgoing:
    return Outgoing("alert/1", KEY, number, b"alert")


def status(number: int) -> Outgoing:
    return Outgoing("status/1", "TX01", number, b"status")


def gaps(store: OutboxStore) -> list[GapRecord]:
    rows = store.pending(0, 10_000)
    return [GapRecord.model_validate_json(r.record.body) for r in rows if r.record.schema == GapRecord.SCHEMA]


def explained(store: OutboxStore) -> set[int]:
    found = [n for gap in gaps(store) for first, last in gap.explained() for n in range(first, last + 1)]
    assert len(found) == len(set(found)), "a row is explained twice"
    return set(found)


def bodies(store: OutboxStore) -> list[bytes]:
    return [row.record.body for row in store.pending(0, 10_000)]


def test_committed_rows_survive_a_new_process(tmp_path):
    """What was committed is there, in order, when the file is opened again; the store keeps its id."""
    with OutboxStore(tmp_path / "o.db") as store:
        store.commit([reading(1), reading(2)])
        first_id = store.store_id
    with OutboxStore(tmp_path / "o.db") as store:
        store.commit([reading(3)])
        assert bodies(store) == [b"1", b"2", b"3"]
        assert store.store_id == first_id


def test_acknowledged_rows_are_not_pending_and_never_renumbered(tmp_path):
    """An acknowledged row is not sent again; later rows get higher numbers, also after a restart."""
    with OutboxStore(tmp_path / "o.db") as store:
        store.commit([reading(i) for i in range(3)])
        store.acknowledge([1, 2, 3])
        store.acknowledge([3])  # a second report for the same row changes nothing
        assert store.stats().pending_rows == 0
    with OutboxStore(tmp_path / "o.db") as store:
        store.commit([reading(9)])
        assert [row.seq for row in store.pending(0, 10)] == [4]
        assert store.stats()[:2] == (1, 4)


def test_rows_acknowledged_in_their_order_are_not_written_again(tmp_path):
    """One line says so for all of them: no row is marked, and a line with their time stands for each."""
    with OutboxStore(tmp_path / "o.db") as store:
        store.commit([reading(i) for i in range(100)])
        store.acknowledge(range(1, 61))
        store.acknowledge(range(61, 91))
        assert store._db.execute("SELECT count(*) FROM records WHERE acked_ms IS NOT NULL").fetchone() == (0,)
        assert [seq for (seq,) in store._db.execute("SELECT to_seq FROM settled")] == [60, 90]
        assert [row.seq for row in store.pending(0, 100)] == list(range(91, 101))


def test_rows_acknowledged_out_of_their_order_are_done_with(tmp_path):
    """A row that is on its way for long holds up no acknowledgement; what is settled passes it later."""
    limits = OutboxLimits(acked_rows_kept=2)
    with OutboxStore(tmp_path / "o.db", limits) as store:
        store.commit([reading(i) for i in range(10)])
        store.acknowledge([2, 3, 5, 9])
        assert [row.seq for row in store.pending(0, 10)] == [1, 4, 6, 7, 8, 10]
        assert store.stats()[:5:4] == (6, 0)
    with OutboxStore(tmp_path / "o.db", limits) as store:
        assert [row.seq for row in store.pending(0, 10)] == [1, 4, 6, 7, 8, 10]
        store.acknowledge([4, 1])
        assert [row.seq for row in store.pending(0, 10)] == [6, 7, 8, 10]
        assert store.stats()[:5:4] == (4, 5)
        assert store.stats().acked_rows == 2  # the oldest are pruned, settled or marked
        assert store._db.execute("SELECT max(to_seq) FROM settled").fetchone() == (5,)
        store.acknowledge([])
        assert store._db.execute("SELECT seq FROM records").fetchall() == [(n,) for n in (5, 6, 7, 8, 9, 10)]


def test_an_acknowledgement_of_rows_that_are_not_there_silences_no_later_one(tmp_path):
    """Whatever numbers Kafka's reports name, a row that is committed after them is sent."""
    with OutboxStore(tmp_path / "o.db") as store:
        store.commit([reading(1), reading(2)])
        store.acknowledge(range(1, 50))
        store.commit([reading(3)])
        assert [row.seq for row in store.pending(0, 10)] == [3]
        store.acknowledge([40])
    with OutboxStore(tmp_path / "o.db") as store:
        assert [row.seq for row in store.pending(0, 10)] == [3]


def test_audit_leaves_stay_after_acknowledgement(tmp_path):
    """The site's log can be rebuilt from the file, whatever Kafka has."""
    with OutboxStore(tmp_path / "o.db") as store:
        store.commit([leaf(0), reading(1), leaf(1)])
        store.commit([leaf(2)])
        store.acknowledge([1, 2, 3, 4])
        assert list(store.audit_leaves()) == [b"leaf 0", b"leaf 1", b"leaf 2"]


def test_full_outbox_drops_oldest_telemetry_and_says_which(tmp_path):
    """At the bound the oldest telemetry gives way, never an audit entry, and a gap record names each row."""
    with OutboxStore(tmp_path / "o.db", OutboxLimits(pending_rows_max=1_000)) as store:
        store.commit([reading(1), leaf(0)] + [reading(i) for i in range(1_200)])
        kept = {row.number for row in store.pending(0, 10_000)}
        assert explained(store) == set(range(1, store.stats().last_seq + 1)) - kept
        assert {1, 3, 4} <= explained(store)
        assert 2 in kept  # the audit entry
        assert store.stats().pending_rows == len(kept) <= 1_000


def test_a_row_given_up_while_it_was_sent_counts_once(tmp_path):
    """Its late acknowledgement changes no count, and it is not pending again."""
    with OutboxStore(tmp_path / "o.db", OutboxLimits(pending_rows_max=100)) as store:
        store.commit([reading(i) for i in range(100)])
        sent = [row.seq for row in store.pending(0, 100)]
        store.commit([reading(i) for i in range(50)])
        store.acknowledge(sent)
        rows = store.pending(0, 1_000)
        assert store.stats().pending_rows == len(rows)
        assert not {row.seq for row in rows} & set(sent)
    with OutboxStore(tmp_path / "o.db") as store:
        assert store.stats().pending_rows == len(rows)


def test_bound_in_bytes_holds_where_rows_are_large(tmp_path):
    """Few large rows give way by their bytes, and the gap record says what they were."""
    limits = OutboxLimits(pending_bytes_max=1_000_000)
    with OutboxStore(tmp_path / "o.db", limits) as store:
        for i in range(40):
            store.commit([Outgoing("prediction/1", KEY, i, bytes(50_000))])
            assert store.stats().pending_bytes <= 1_000_000
        [*_, newest] = gaps(store)
        assert set(newest.by_schema) == {"prediction/1"}
        assert store.pending(0, 100)[-2].record.time_ms == 39


def test_what_matters_gives_way_last_and_the_log_stays_whole(tmp_path):
    """With nothing else left status goes, then alerts, then audit entries; gap records are joined."""
    with OutboxStore(tmp_path / "o.db", OutboxLimits(pending_rows_max=100)) as store:
        for i in range(40):
            store.commit([leaf(2 * i), alert(i), status(i), leaf(2 * i + 1)])
        left = Counter(row.record.schema for row in store.pending(0, 1_000))
        assert left["status/1"] <= 1
        assert left["alert/1"] < 20
        assert left["audit/1"] == 80
        for start in range(80, 2_000, 20):
            store.commit([leaf(i) for i in range(start, start + 20)])
            assert store.stats().pending_rows <= 100
        kept = {row.number for row in store.pending(0, 1_000)}
        assert explained(store) | kept == set(range(1, store.stats().last_seq + 1))
        assert store.audit_log().size == 2_000
        told = sum((Counter(gap.by_schema) for gap in gaps(store)), Counter())
        assert (told["status/1"], told["alert/1"]) == (40, 40)


def test_drop_newest_refuses_readings_with_their_numbers_and_keeps_alerts(tmp_path):
    """The oldest readings stay; new ones are refused, counted and numbered; alerts find their place."""
    limits = OutboxLimits(pending_rows_max=100, when_full=WhenFull.DROP_NEWEST)
    with OutboxStore(tmp_path / "o.db", limits) as store:
        for i in range(200):
            store.commit([reading(i)] if i % 50 else [reading(i), alert(i)])
        rows = store.pending(0, 1_000)
        assert [row.record.time_ms for row in rows if row.record.schema == "telemetry/1"] == list(range(89))
        assert Counter(row.record.schema for row in rows)["alert/1"] == 4
        assert Counter(row.record.schema for row in rows)["gap/1"] == 1  # joined, not one a poll
        assert explained(store) == set(range(1, store.stats().last_seq + 1)) - {row.number for row in rows}
        [gap] = gaps(store)
        assert gap.by_schema["telemetry/1"] == 111
        store.acknowledge([row.seq for row in rows])
        store.commit([reading(200)])
        assert [row.record.time_ms for row in store.pending(0, 10)] == [200]


def test_space_is_given_back_when_the_backlog_has_drained(tmp_path):
    """After a large backlog is acknowledged the files are small again; the newest such rows stay."""
    limits = OutboxLimits(acked_rows_kept=100)
    with OutboxStore(tmp_path / "o.db", limits) as store:
        for start in range(0, 40_000, 2_000):
            store.commit([Outgoing("telemetry/1", KEY, i, bytes(900)) for i in range(start, start + 2_000)])
        full = store.stats().size_bytes
        while rows := store.pending(0, 5_000):
            store.acknowledge([row.seq for row in rows])
        for _ in range(10):
            store.acknowledge([])
        after = store.stats()
        assert after.acked_rows == 100
        assert after.size_bytes < WAL_BYTES_KEPT + FREE_PAGES_KEPT * 4_096 + 1_000_000 < full


def test_old_leaves_are_folded_and_the_log_is_the_same(tmp_path):
    """The file keeps the newest leaves only; the log's root is that of all of them, also after a restart."""
    leaves = [f"leaf {i}".encode() for i in range(5_000)]
    with OutboxStore(tmp_path / "o.db", OutboxLimits(audit_leaves_kept=100)) as store:
        for start in range(0, 5_000, 50):
            store.commit([leaf(i) for i in range(start, start + 50)])
        for _ in range(5):
            store.acknowledge([])
    with OutboxStore(tmp_path / "o.db") as store:
        assert store.audit_log().to_bytes() == Frontier(leaf_hash(x) for x in leaves).to_bytes()
        kept = list(store.audit_leaves())
        assert kept == leaves[-len(kept) :]
        assert 100 <= len(kept) < 2_200


def test_a_clock_set_back_and_forth_changes_no_order(tmp_path):
    """Rows are ordered and pruned by their number, whatever their source times say."""
    times = [10**13, 5, 10**12, -(10**12), 7]
    with OutboxStore(tmp_path / "o.db", OutboxLimits(pending_rows_max=50)) as store:
        for _ in range(40):
            store.commit([reading(time_ms) for time_ms in times])
            numbers = [row.number for row in store.pending(0, 1_000)]
            assert numbers == sorted(numbers)
        assert max(explained(store)) < max(numbers)
        kept = [row for row in store.pending(0, 1_000) if row.record.schema == "telemetry/1"]
        assert [row.record.time_ms for row in kept] == (times * 40)[-len(kept) :]


def test_a_file_of_the_first_schema_is_taken_over(tmp_path):
    """A file from before checksums keeps its id, rows, acknowledgements and log, and can give space back."""
    db = sqlite3.connect(tmp_path / "o.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    first = Migrations("outbox")
    first(name="first_tables")(first_tables)
    first.apply(Database(db))
    db.execute("INSERT INTO meta VALUES ('store_id', 'the-store')")
    old = [(reading(1), None), (leaf(0), 5), (reading(2), None)]
    sql = "INSERT INTO records (schema, key, time_ms, body, acked_ms) VALUES (?, ?, ?, ?, ?)"
    db.executemany(sql, [(*record, acked) for record, acked in old])
    db.execute("INSERT INTO audit_log VALUES (0, ?)", (b"leaf 0",))
    db.close()
    with OutboxStore(tmp_path / "o.db") as store:
        store.commit([reading(3)])
        assert store.store_id == "the-store"
        assert [(row.store_id, row.number) for row in store.pending(0, 10)] == [
            ("the-store", n) for n in (1, 3, 4)
        ]
        assert list(store.audit_leaves()) == [b"leaf 0"]
    db = sqlite3.connect(tmp_path / "o.db")
    assert db.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    db.close()


def test_records_that_could_not_be_kept_are_numbered_and_explained_later(tmp_path):
    """What the disk would not take gets numbers and one gap record when it takes records again."""
    with OutboxStore(tmp_path / "o.db") as store:
        store.commit([reading(1)])
        lost = Loss("TX01")
        lost.count("telemetry/1", 3, 10, 12)
        lost.count("audit/1", 1, 13, 13)
        store.commit([reading(2)], lost)
        [gap] = gaps(store)
        assert (gap.from_seq, gap.to_seq, gap.count, gap.reason) == (2, 5, 4, "disk_full")
        assert gap.by_schema == {"telemetry/1": 3, "audit/1": 1}
        assert [row.number for row in store.pending(0, 10)] == [1, 6, 7]


def test_commit_is_all_or_nothing(tmp_path):
    """A commit that fails half-way leaves nothing of itself behind, and says the outbox cannot be written."""
    with OutboxStore(tmp_path / "o.db") as store:
        store.commit([reading(1)])
        other = sqlite3.connect(tmp_path / "o.db")
        other.execute(
            "CREATE TRIGGER full BEFORE INSERT ON audit_log BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
        other.close()
        with pytest.raises(Retryable, match="cannot be written: disk full"):
            store.commit([reading(2), leaf(0)])
        assert bodies(store) == [b"1"]
        assert store.stats().pending_rows == 1


@given(st.sets(st.integers(1, 60), min_size=1))
def test_runs_cover_exactly_the_numbers(numbers):
    """The runs of a set of numbers cover all of them, nothing else, and do not touch."""
    found = list(runs(sorted(numbers)))
    assert [n for first, last in found for n in range(first, last + 1)] == sorted(numbers)
    assert all(b[0] > a[1] + 1 for a, b in itertools.pairwise(found))


def test_rows_carry_their_source_time(tmp_path):
    """The oldest pending source time is what an operator sees as the backlog's age."""
    with OutboxStore(tmp_path / "o.db") as store:
        time_ms = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
        store.commit([reading(time_ms), reading(time_ms + 1)])
        assert store.stats().oldest_ms == time_ms


def test_urgent_rows_are_found_at_once_behind_a_backlog(tmp_path):
    """Alerts, status and gaps can be asked for by themselves, by an index of their own; in order."""
    with OutboxStore(tmp_path / "o.db") as store:
        store.commit([*(reading(i) for i in range(50)), alert(1), leaf(0), status(2)])
        assert [row.number for row in store.pending(0, 10, urgent=True)] == [51, 53]
        assert [row.number for row in store.pending(51, 10, urgent=True)] == [53]
        sql = f"EXPLAIN QUERY PLAN SELECT seq FROM records WHERE {IS_URGENT} AND seq > 0"  # noqa: S608
        assert "records_urgent" in str(store._db.execute(sql).fetchall())


def test_settled_rows_end_before_the_oldest_pending_one(tmp_path):
    """Every row up to `settled_seq` is done with, however later ones were acknowledged."""
    with OutboxStore(tmp_path / "o.db") as store:
        store.commit([reading(i) for i in range(10)])
        store.acknowledge([1, 2, 3, 7, 10])
        assert store.stats().settled_seq == 3
        store.acknowledge([4, 5, 6, 8, 9])
        assert store.stats().settled_seq == 10
