"""The outbox keeps what was committed, in order, once, within its bound."""

import itertools
import sqlite3
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.outbox.eviction import EVICTION_ROWS_MIN, runs
from edge_agent.outbox.schema import IS_URGENT
from edge_agent.outbox.store import OutboxStore
from shared.errors import Retryable
from shared.schemas import GapRecord, Outgoing, SiteStatus

KEY = "TX01/R1/coolant_pump"


def reading(number: int) -> Outgoing:
    return Outgoing("telemetry/1", KEY, number, str(number).encode())


def leaf(number: int) -> Outgoing:
    return Outgoing("audit/1", "TX01", number, f"leaf {number}".encode())


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


def test_audit_leaves_stay_after_acknowledgement(tmp_path):
    """The site's log can be rebuilt from the file, whatever Kafka has."""
    with OutboxStore(tmp_path / "o.db") as store:
        store.commit([leaf(0), reading(1), leaf(1)])
        store.commit([leaf(2)])
        store.acknowledge([1, 2, 3, 4])
        assert list(store.audit_leaves()) == [b"leaf 0", b"leaf 1", b"leaf 2"]


def test_full_outbox_drops_oldest_telemetry_and_says_which(tmp_path):
    """At the bound the oldest telemetry gives way, never an audit entry, and a gap record names each row."""
    with OutboxStore(tmp_path / "o.db", pending_rows_max=EVICTION_ROWS_MIN) as store:
        store.commit([reading(1), leaf(0)] + [reading(i) for i in range(EVICTION_ROWS_MIN + 200)])
        rows = store.pending(0, 10_000)
        gaps = [
            GapRecord.model_validate_json(r.record.body) for r in rows if r.record.schema == GapRecord.SCHEMA
        ]
        kept = {r.seq for r in rows}
        lost = {seq for g in gaps for seq in range(g.from_seq, g.to_seq + 1)}
        assert lost == set(range(1, EVICTION_ROWS_MIN + 203)) - kept
        assert sum(g.count for g in gaps) == EVICTION_ROWS_MIN
        assert 2 in kept  # the audit entry
        assert store.stats().pending_rows == len(rows) <= EVICTION_ROWS_MIN


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


def test_what_is_urgent_is_found_behind_a_backlog_without_reading_it(tmp_path):
    """Only urgent rows, in order, by an index that holds nothing else; an acknowledged one is out of it."""
    alert, status = (reading(0)._replace(schema=schema) for schema in ("alert/1", SiteStatus.SCHEMA))
    with OutboxStore(tmp_path / "o.db") as store:
        store.commit([*map(reading, range(50)), alert, reading(1), status, alert])
        assert [row.seq for row in store.pending(0, 10, urgent=True)] == [51, 53, 54]
        store.acknowledge([51])
        assert [row.seq for row in store.pending(0, 1, urgent=True)] == [53]
        assert [row.seq for row in store.pending(53, 10, urgent=True)] == [54]
    db = sqlite3.connect(tmp_path / "o.db")
    sql = f"SELECT seq FROM records WHERE {IS_URGENT} AND seq > 0 ORDER BY seq LIMIT 10"  # noqa: S608
    assert "INDEX records_urgent" in str(db.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall())
    db.close()
