"""The SQLite file behind the outbox. One thread owns it."""

import json
import sqlite3
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from edge_agent.outbox import anchor as anchors
from edge_agent.outbox import file, notes, recovery
from edge_agent.outbox.anchor import Anchor, AnchorWriter
from edge_agent.outbox.eviction import make_room, refuse_new
from edge_agent.outbox.file import FAILURES, Damaged, is_damage, transaction
from edge_agent.outbox.gaps import Loss, runs
from edge_agent.outbox.leaves import Leaves
from edge_agent.outbox.limits import OutboxLimits, WhenFull
from edge_agent.outbox.records import Records
from edge_agent.outbox.rows import Row, Stores, broken
from shared.errors import Retryable
from shared.merkle import Frontier
from shared.schemas import AuditEntry, GapRecord, Outgoing

PRUNE_EVERY_COMMITS = 64  # pruning is a delete; amortise it
PRUNE_ROWS_MAX = 10_000  # at a time: about 30 ms
FREE_PAGES_KEPT = 1_024  # 4 MiB stay in the file for the next rows; the rest goes back to the file system
GIVEN_BACK_PAGES_MAX = 2_000  # at a time: about 20 ms
BACKLOG_SHARE = 4  # more waiting than this part of what is acknowledged and kept: a backlog
REOPEN_WAIT_S = 2.0  # between two tries to open a file that could not be opened


class Replaced(Retryable):
    """The file was damaged; a new one has taken its place: try again now."""


class Stats(NamedTuple):
    """How full the outbox is. `oldest_ms` is the source time of the oldest pending row, or None.

    `size_bytes` is what the file system holds; `given_up_rows` counts since the start. Every row up to
    `settled_seq` was acknowledged or given up.
    """

    pending_rows: int
    last_seq: int
    oldest_ms: int | None
    size_bytes: int
    settled_seq: int
    pending_bytes: int
    acked_rows: int
    given_up_rows: int


class Incident(NamedTuple):
    """What befell rows of an earlier file, or of this one, and the records that explain them."""

    number: int
    told: dict[str, Any]
    gaps: list[GapRecord]


class OutboxStore:
    """Durable, ordered, bounded rows (WAL, `synchronous=FULL`); use it as a context manager.

    Each call raises Retryable while the disk will not take part, also where the file cannot be opened:
    the next call tries again.
    """

    def __init__(self, path: Path, limits: OutboxLimits | None = None) -> None:
        self._path = path
        self._limits = limits or OutboxLimits()
        self._db: sqlite3.Connection | None = None
        self._records: Records
        self._leaves: Leaves
        self._stores: Stores
        self._anchor: AnchorWriter
        self._commits = 0
        self._open_again_s = 0.0
        self._known = Stats(0, 0, None, 0, 0, 0, 0, 0)
        self._given_up_before = 0  # with files and openings before this one
        self.has_incidents = False

    def __enter__(self) -> Self:
        try:
            self._open()
        except Retryable:
            return self  # the site goes on; whoever uses it hears why
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def store_id(self) -> str:
        """The UUID made with the file; empty while it has never been opened."""
        if self._db is not None:
            return self._stores.newest[1]
        anchor = anchors.read(self._path)
        return anchor.store_id if anchor else ""

    # --- opening, and what is found then ---------------------------------------------------------

    def _open(self) -> None:
        self._open_again_s = time.monotonic() + REOPEN_WAIT_S
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            recovery.finish_interrupted(self._path)
            try:
                self._begin()
            except (sqlite3.Error, Damaged, ValueError, TypeError) as error:
                if isinstance(error, sqlite3.Error) and not is_damage(error):
                    raise
                self._replace(error)
        except (*FAILURES, OSError) as error:
            self._close()
            raise Retryable(f"{self._path}: the outbox cannot be opened: {error}") from error

    def _replace(self, why: Exception) -> None:
        self._close()
        self._given_up_before += recovery.replace(self._path, str(why))
        self._begin()

    def _begin(self) -> None:
        anchor = anchors.read(self._path)
        if anchor is not None and not self._path.exists():
            raise Damaged("the file is gone")
        self._db = db = file.connect(self._path)
        file.check(db)
        file.migrate(db)
        if hasattr(self, "_records"):
            self._given_up_before += self._records.counts.given_up_rows
        self._records, self._leaves = Records(db), Leaves(db)
        if not self._records.load():
            raise Damaged("its rows, the index of what is urgent and what is settled do not fit each other")
        if not self._leaves.load():
            raise Damaged("leaves of the site's log are missing")
        if not db.execute("SELECT count(*) FROM stores").fetchone()[0]:
            db.execute("INSERT INTO stores VALUES (?, ?)", (self._records.counts.last_seq, str(uuid.uuid4())))
        self._stores = Stores(db.execute("SELECT base, store_id FROM stores").fetchall())
        self._compare(anchor)
        self.has_incidents = bool(db.execute("SELECT count(*) FROM incidents").fetchone()[0])
        self._anchor = AnchorWriter(self._path)
        self._write_anchor()

    def _compare(self, anchor: Anchor | None) -> None:
        """Damaged when the file is not at least what was committed."""
        if anchor is None:
            return
        last_seq, log = self._records.counts.last_seq, self._leaves.frontier
        if not self._stores.has(anchor.base, anchor.store_id):
            raise Damaged(f"it is not the file of store {anchor.store_id}")
        if last_seq < anchor.last_seq:
            raise Damaged(f"it ends at row {last_seq}; row {anchor.last_seq} had been committed")
        if last_seq > max(anchor.last_seq, self._records.newest_kept, self._stores.newest[0]):
            raise Damaged(f"it says that it ends at row {last_seq}, which neither it nor its anchor has")
        if log.size < anchor.log.size:
            raise Damaged(f"its log ends at {log.size}; {anchor.log.size} entries had been committed")
        if log.size == anchor.log.size and log.to_bytes() != anchor.log.to_bytes():
            raise Damaged(f"the {log.size} entries of its log are not those that had been committed")

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()
            if hasattr(self, "_anchor"):
                self._anchor.close()

    @contextmanager
    def _use(self, doing: str) -> Iterator[sqlite3.Connection]:
        """The open file; what SQLite says becomes Retryable, and a damaged file gives way to a new one."""
        if self._db is None:
            if time.monotonic() < self._open_again_s:
                raise Retryable(f"{self._path}: the outbox could not be opened; it is tried again soon")
            self._open()
        assert self._db is not None  # noqa: S101 - _open has seen to it
        try:
            yield self._db
        except FAILURES as error:
            if not is_damage(error):
                raise Retryable(f"{self._path}: the outbox cannot be {doing}: {error}") from error
            self._open_instead(error)
            raise Replaced(f"{self._path}: the outbox was damaged and a new one begun: {error}") from error

    def _open_instead(self, why: Exception) -> None:
        try:
            self._replace(why)
        except (*FAILURES, OSError) as error:
            self._close()
            raise Retryable(f"{self._path}: damaged, and no new outbox can be begun: {error}") from error

    # --- writing ---------------------------------------------------------------------------------

    def commit(
        self,
        records: Sequence[Outgoing],
        unkept: Loss | None = None,
        settled: Collection[int] = (),
        noted: Mapping[str, str] | None = None,
    ) -> None:
        """Append `records` in one transaction, flushed to disk; Retryable when the disk will not take it.

        Beyond the bound rows give way, and a gap record says which. `unkept` counts records that could
        not be committed before: they get numbers and a gap record now. `settled` incidents are done with.
        `noted` replaces notes by name; an empty one is removed.
        """
        with self._use("written") as db, self._all_or_nothing(db):
            if unkept is not None:
                self._number(unkept)
            self._append(records)
            make_room(self._records, self._stores, self._limits)
            for number in settled:
                db.execute("DELETE FROM incidents WHERE id = ?", (number,))
            notes.write(db, noted or {})
            self._commits += 1
            tidy = self._commits % PRUNE_EVERY_COMMITS == 0
            if tidy:
                self._tidy()
        if settled:
            self.has_incidents = False
        self._write_anchor()
        if tidy:
            self._give_space_back()

    @contextmanager
    def _all_or_nothing(self, db: sqlite3.Connection) -> Iterator[None]:
        """A transaction over the file and over what is counted beside it."""
        counts, leaves, state = self._records.counts.copy(), self._leaves, self._leaves.state
        try:
            with transaction(db):
                yield
        except BaseException:
            self._records.counts, leaves.state = counts, state
            raise

    def _append(self, records: Sequence[Outgoing]) -> None:
        newest_goes = self._limits.when_full is WhenFull.DROP_NEWEST
        if not (newest_goes and refuse_new(self._records, self._stores, self._limits, records)):
            self._records.append(records)
        leaves = [r.body for r in records if r.schema == AuditEntry.SCHEMA]
        if leaves:
            self._leaves.append(leaves)

    def _number(self, unkept: Loss) -> None:
        rows, first = sum(unkept.by_schema.values()), self._records.counts.last_seq + 1
        self._records.append([None] * rows)
        self._records.counts.given_up_rows += rows
        unkept.seqs = [(first, first + rows - 1)]
        self._records.append([gap.outgoing() for gap in unkept.records(self._stores, "disk_full")])

    def _tidy(self) -> None:
        """Prune what is acknowledged and fold old leaves; some of it at a time."""
        counts, limits = self._records.counts, self._limits
        rows, size = counts.acked_rows - limits.acked_rows_kept, counts.acked_bytes - limits.acked_bytes_kept
        if size > 0:
            rows = max(rows, size * counts.acked_rows // counts.acked_bytes + 1)
        if rows > 0:
            self._records.prune(min(rows, PRUNE_ROWS_MAX))
        self._leaves.fold(limits.audit_leaves_kept)

    def _give_space_back(self) -> None:
        """Return free pages to the file system; some of them at a time. What was committed stands anyway.

        Pages in use are moved to where free ones were: not while a backlog is worked off, which would wait.
        """
        if self._records.counts.pending_bytes * BACKLOG_SHARE > self._records.counts.acked_bytes:
            return
        with suppress(Retryable), self._use("made smaller") as db:
            free = db.execute("PRAGMA freelist_count").fetchone()[0] - FREE_PAGES_KEPT
            if free > 0:  # a script, because `execute` takes one step and gives back one page
                db.executescript(f"PRAGMA incremental_vacuum({min(free, GIVEN_BACK_PAGES_MAX)})")

    def acknowledge(self, seqs: Collection[int]) -> None:
        """Kafka has these rows: they need not be sent again."""
        with self._use("written") as db, self._all_or_nothing(db):
            self._records.acknowledge(seqs, int(time.time() * 1000))
            self._tidy()
        self._write_anchor()
        self._give_space_back()

    def _write_anchor(self) -> None:
        base, store_id = self._stores.newest
        counts = self._records.counts
        anchor = Anchor(store_id, base, counts.last_seq, counts.settled_seq + 1, self._leaves.frontier)
        self._anchor.write(anchor)

    # --- reading ---------------------------------------------------------------------------------

    def pending(self, after_seq: int, limit: int, *, urgent: bool = False) -> list[Row]:
        """The next rows not yet acknowledged, in order; with `urgent`, only what overtakes the others.

        A row that is not what was committed is given up.
        """
        while True:
            with self._use("read"):
                found = self._records.pending(after_seq, limit, urgent=urgent)
            wrong = broken(found)
            if not wrong:
                return self._stores.rows(found)
            self._give_up(wrong)

    def _give_up(self, broken: list[int]) -> None:
        told = {"why": "rows are not what was committed", "file": "", "rows": runs(broken)}
        with self._use("written") as db, self._all_or_nothing(db):
            self._records.remove(broken)
            db.execute("INSERT INTO incidents (told) VALUES (?)", (json.dumps(told),))
        self.has_incidents = True

    def incidents(self, site_id: str) -> list[Incident]:
        """What is not on the record yet."""
        with self._use("read") as db:
            rows = db.execute("SELECT id, told FROM incidents ORDER BY id")
            found = [(number, recovery.read_incident(told)) for number, told in rows]
        return [self._incident(site_id, number, told) for number, told in found]

    def _incident(self, site_id: str, number: int, told: dict[str, Any]) -> Incident:
        loss = Loss(site_id, seqs=told.pop("rows"))
        return Incident(number, told, list(loss.records(self._stores, "corrupt")))

    def audit_leaves(self) -> Iterator[bytes]:
        """The newest leaves of the site's log, in order."""
        with self._use("read"):
            yield from self._leaves.kept()

    def notes(self) -> dict[str, str]:
        """The notes, by name."""
        with self._use("read") as db:
            return notes.read(db)

    def audit_log(self) -> Frontier:
        """The site's log as it is committed."""
        with self._use("read"):
            return self._leaves.frontier.copy()

    def stats(self) -> Stats:
        """How full it is now; as it was last known while the file cannot be read."""
        with suppress(Retryable), self._use("read"):
            oldest = self._records.first_pending()
            counts, base = self._records.counts, self._stores.newest[0]
            self._known = Stats(
                pending_rows=counts.pending_rows,
                last_seq=counts.last_seq - base,
                oldest_ms=oldest[1] if oldest else None,
                size_bytes=sum(part.stat().st_size for part in file.file_set(self._path) if part.exists()),
                settled_seq=max(0, (oldest[0] - 1 if oldest else counts.last_seq) - base),
                pending_bytes=counts.pending_bytes,
                acked_rows=counts.acked_rows,
                given_up_rows=self._given_up_before + counts.given_up_rows,
            )
        return self._known
