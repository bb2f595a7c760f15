"""The SQLite file behind the outbox. One thread owns it."""

import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from sqlite_utils import Database

from edge_agent.outbox.eviction import evict_oldest
from edge_agent.outbox.schema import migrations
from shared.errors import Retryable
from shared.schemas import AuditEntry, Outgoing

PENDING_ROWS_MAX = 1_000_000  # rows not yet acknowledged: about 12 days of 1 Hz for one component
ACKED_ROWS_KEPT = 200_000  # acknowledged rows kept for a resend or an inspection, then pruned
PRUNE_EVERY_COMMITS = 256  # pruning is a delete; amortise it
BUSY_TIMEOUT_S = 5.0


class Row(NamedTuple):
    """A committed record and its row number."""

    seq: int
    record: Outgoing


class Stats(NamedTuple):
    """How full the outbox is. `oldest_ms` is the source time of the oldest pending row, or None.

    Every row up to `settled_seq` was acknowledged or given up.
    """

    pending_rows: int
    last_seq: int
    oldest_ms: int | None
    size_bytes: int
    settled_seq: int


class OutboxStore:
    """Durable, ordered, bounded rows (WAL, `synchronous=FULL`); use it as a context manager."""

    def __init__(self, path: Path, pending_rows_max: int = PENDING_ROWS_MAX) -> None:
        self._path = path
        self._pending_rows_max = pending_rows_max
        self._commits = 0
        self._db: sqlite3.Connection
        self.store_id = ""

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(
            self._path, isolation_level=None, timeout=BUSY_TIMEOUT_S, check_same_thread=False
        )
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        migrations.apply(Database(self._db))
        self.store_id = self._made_once("store_id", str(uuid.uuid4()))
        self._pending = self._count_pending()
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def _made_once(self, key: str, value: str) -> str:
        self._db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, value))
        return str(self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0])

    def _count_pending(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM records WHERE acked_ms IS NULL").fetchone()[0])

    def commit(self, records: Sequence[Outgoing]) -> None:
        """Append `records` in one transaction, flushed to disk; Retryable when the disk will not take it.

        Beyond the bound the oldest telemetry and predictions give way, and a gap record says which.
        """
        try:
            with _transaction(self._db):
                pending = self._pending + self._append(records)
                pending += evict_oldest(self._db, self.store_id, pending - self._pending_rows_max)
                self._prune_now_and_then()
        except sqlite3.DatabaseError as error:
            raise Retryable(f"{self._path}: the outbox cannot be written: {error}") from error
        self._pending = pending

    def _append(self, records: Sequence[Outgoing]) -> int:
        self._db.executemany("INSERT INTO records (schema, key, time_ms, body) VALUES (?, ?, ?, ?)", records)
        leaves = [(r.body,) for r in records if r.schema == AuditEntry.SCHEMA]
        self._db.executemany(
            "INSERT INTO audit_log (idx, leaf) VALUES ((SELECT count(*) FROM audit_log), ?)", leaves
        )
        return len(records)

    def _prune_now_and_then(self) -> None:
        self._commits += 1
        if self._commits % PRUNE_EVERY_COMMITS == 0:
            self._db.execute(
                "DELETE FROM records WHERE acked_ms IS NOT NULL AND seq <= "
                "(SELECT max(seq) FROM records) - ?",
                (ACKED_ROWS_KEPT,),
            )

    def pending(self, after_seq: int, limit: int) -> list[Row]:
        """The next rows not yet acknowledged, in order."""
        found = self._db.execute(
            "SELECT seq, schema, key, time_ms, body FROM records "
            "WHERE acked_ms IS NULL AND seq > ? ORDER BY seq LIMIT ?",
            (after_seq, limit),
        )
        return [Row(seq, Outgoing(*record)) for seq, *record in found]

    def acknowledge(self, seqs: Iterable[int]) -> None:
        """Kafka has these rows: they need not be sent again."""
        now_ms = int(time.time() * 1000)
        with _transaction(self._db):
            changed = self._db.executemany(
                "UPDATE records SET acked_ms = ? WHERE seq = ? AND acked_ms IS NULL",
                [(now_ms, seq) for seq in seqs],
            )
        self._pending -= changed.rowcount

    def audit_leaves(self) -> Iterator[bytes]:
        """The leaves of the site's log, in order."""
        for (leaf,) in self._db.execute("SELECT leaf FROM audit_log ORDER BY idx"):
            yield leaf

    def stats(self) -> Stats:
        """How full it is now."""
        last = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()
        last_seq = last[0] if last else 0
        oldest = self.pending(0, 1)
        return Stats(
            self._pending,
            last_seq,
            oldest[0].record.time_ms if oldest else None,
            self._path.stat().st_size,
            oldest[0].seq - 1 if oldest else last_seq,
        )


class _transaction:  # noqa: N801 - reads as a keyword where it is used
    """BEGIN IMMEDIATE ... COMMIT, or ROLLBACK on any error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._db.execute("ROLLBACK" if kind else "COMMIT")
