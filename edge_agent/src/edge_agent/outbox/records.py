"""The table of records, and the counts of what is in it. Every call runs within the caller's transaction."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

from edge_agent.outbox.file import Damaged
from edge_agent.outbox.gaps import runs
from edge_agent.outbox.limits import ROW_OVERHEAD_BYTES, OutboxLimits
from edge_agent.outbox.rows import checksum
from edge_agent.outbox.schema import INDICES, IS_URGENT
from edge_agent.outbox.settled import forget, settle, settled_seq
from shared.schemas import Outgoing

IS_PENDING = "acked_ms IS NULL AND seq > ?"  # the row up to which all is settled
_SIZE = f"length(body) + length(key) + {ROW_OVERHEAD_BYTES}"


class Held(NamedTuple):
    """A pending row as it is weighed for eviction."""

    seq: int
    schema: str
    key: str
    time_ms: int
    size_bytes: int


@dataclass
class Counts:
    """How much the table holds.

    `emptied` says up to which row no pending row of some schemas is left; `newest_gap` is the row of the
    newest gap record that tells of refused rows; every row up to `settled_seq` is acknowledged or given up.
    """

    last_seq: int = 0
    settled_seq: int = 0
    pending_rows: int = 0
    pending_bytes: int = 0
    acked_rows: int = 0
    acked_bytes: int = 0
    given_up_rows: int = 0
    newest_gap: int = 0
    emptied: dict[tuple[str, ...], int] = field(default_factory=dict)

    def copy(self) -> Self:
        """To go back to when the transaction fails."""
        return replace(self, emptied=dict(self.emptied))

    def over(self, limits: OutboxLimits, share: float = 1.0) -> tuple[int, int]:
        """Rows and bytes beyond this share of the bound; not above 0 where there is room."""
        rows = self.pending_rows - int(limits.pending_rows_max * share)
        return rows, self.pending_bytes - int(limits.pending_bytes_max * share)


class Records:
    """Append, choose, remove, acknowledge, prune."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.counts = Counts()
        self.newest_kept = 0  # when the file was opened

    def load(self) -> bool:
        """Count what is there; False when its parts do not fit each other."""
        counts = self.counts = Counts(last_seq=self._last_seq(), settled_seq=settled_seq(self._db))
        newest, urgent, marked = 0, 0.0, 0.0
        for pending, rows, size, last, *others in self._db.execute(
            f"SELECT acked_ms IS NULL AND seq > ?, count(*), total({_SIZE}), max(seq),"  # noqa: S608
            f" total({IS_URGENT}), total(acked_ms IS NOT NULL) FROM records NOT INDEXED GROUP BY 1",
            (counts.settled_seq,),
        ):
            newest, urgent, marked = max(newest, last), urgent + others[0], marked + others[1]
            if pending:
                counts.pending_rows, counts.pending_bytes = rows, int(size)
            else:
                counts.acked_rows, counts.acked_bytes = rows, int(size)
        if [urgent, marked] != [self._indexed(name, which) for name, which in INDICES.items()]:
            return False
        if max(counts.settled_seq, newest) > counts.last_seq:
            return False
        self.newest_kept = newest
        counts.settled_seq = self._oldest_pending() - 1  # what was given up is settled too
        return True

    def _indexed(self, name: str, which: str) -> int:
        sql = f"SELECT count(*) FROM records INDEXED BY {name} WHERE {which}"  # noqa: S608
        return int(self._db.execute(sql).fetchone()[0])

    def _last_seq(self) -> int:
        found = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()
        return int(found[0]) if found else 0

    def append(self, records: Sequence[Outgoing | None]) -> None:
        """Add rows at the end; None takes a number and leaves no row."""
        counts, rows, size = self.counts, [], 0
        for seq, record in enumerate(records, counts.last_seq + 1):
            if record is not None:
                rows.append((seq, *record, checksum(seq, record)))
                size += len(record.key) + len(record.body)
        self._db.executemany(
            "INSERT INTO records (seq, schema, key, time_ms, body, crc) VALUES (?, ?, ?, ?, ?, ?)", rows
        )
        counts.last_seq += len(records)
        counts.pending_rows += len(rows)
        counts.pending_bytes += size + ROW_OVERHEAD_BYTES * len(rows)

    def pending(self, after: int, limit: int, *, urgent: bool) -> list[tuple[Any, ...]]:
        """`(seq, schema, key, time_ms, body, crc)` of the next pending rows, in order."""
        which = (
            f"INDEXED BY records_urgent WHERE {IS_URGENT}" if urgent else "NOT INDEXED WHERE acked_ms IS NULL"
        )
        return self._db.execute(
            f"SELECT seq, schema, key, time_ms, body, crc FROM records {which}"  # noqa: S608
            " AND seq > ? ORDER BY seq LIMIT ?",
            (max(after, self.counts.settled_seq), limit),
        ).fetchall()

    def oldest(self, schemas: tuple[str, ...]) -> Iterable[Held]:
        """Pending rows of these schemas, oldest first."""
        marks = ", ".join("?" * len(schemas))
        found = self._db.execute(
            f"SELECT seq, schema, key, time_ms, {_SIZE} FROM records NOT INDEXED"  # noqa: S608
            f" WHERE acked_ms IS NULL AND seq > ? AND schema IN ({marks}) ORDER BY seq",
            (max(self.counts.settled_seq, self.counts.emptied.get(schemas, 0)), *schemas),
        )
        return map(Held._make, found)

    def first_pending(self) -> tuple[int, int] | None:
        """`(seq, time_ms)` of the oldest pending row; None when there is none."""
        sql = f"SELECT seq, time_ms FROM records NOT INDEXED WHERE {IS_PENDING} ORDER BY seq LIMIT 1"  # noqa: S608
        found = self._db.execute(sql, (self.counts.settled_seq,)).fetchone()
        return None if found is None else (found[0], found[1])

    def body(self, seq: int) -> bytes | None:
        """What a pending row holds; None when it is not pending."""
        sql = f"SELECT body FROM records WHERE {IS_PENDING} AND seq = ?"  # noqa: S608
        found = self._db.execute(sql, (self.counts.settled_seq, seq)).fetchone()
        return None if found is None else bytes(found[0])

    def remove(self, seqs: Iterable[int]) -> None:
        """Take pending rows out; Damaged when one that was read is not found by its number."""
        seqs = list(seqs)
        sizes = self._db.execute(
            f"DELETE FROM records WHERE {IS_PENDING} AND {_AMONG} RETURNING {_SIZE}",  # noqa: S608
            (self.counts.settled_seq, json.dumps(seqs)),
        ).fetchall()
        if len(sizes) != len(seqs):
            raise Damaged(f"of {len(seqs)} rows to give up, {len(sizes)} are where their numbers belong")
        self.counts.pending_rows -= len(sizes)
        self.counts.pending_bytes -= sum(size for (size,) in sizes)
        self.counts.given_up_rows += len(sizes)

    def acknowledge(self, seqs: Collection[int], now_ms: int) -> None:
        """Note that these need not be sent again; rows that are not pending stay as they are.

        Whatever has no pending row before it is settled, in one line for all of it; other rows are marked.
        """
        before, oldest = self.counts.settled_seq, self._oldest_pending()
        self._confirm(before + 1, oldest - 1)
        for first, last in runs(seqs):
            if last < oldest:
                continue
            self._weigh(max(first, oldest), last)
            if first <= oldest:
                self.counts.settled_seq = last
                oldest = self._oldest_pending()
                self._confirm(last + 1, oldest - 1)
            else:
                self._mark(first, last, now_ms)
        self.counts.settled_seq = oldest - 1
        if oldest - 1 > before:
            settle(self._db, oldest - 1, now_ms)

    def _oldest_pending(self) -> int:
        """The number of the oldest pending row; that of the next one to come when none is pending."""
        found = self.first_pending()
        return found[0] if found else self.counts.last_seq + 1

    def _confirm(self, first: int, last: int) -> None:
        """Damaged when rows among these look marked that the index of marks does not have.

        A mark has no checksum of its own; without this a line of `settled` would say for good what one
        flipped bit said.
        """
        if first > last:
            return
        marked = "acked_ms IS NOT NULL AND seq BETWEEN ? AND ?"
        sql = (
            f"SELECT (SELECT count(*) FROM records NOT INDEXED WHERE {marked}),"  # noqa: S608
            f" (SELECT count(*) FROM records INDEXED BY records_marked WHERE {marked})"
        )
        in_table, in_index = self._db.execute(sql, (first, last, first, last)).fetchone()
        if in_table != in_index:
            raise Damaged(f"rows {first} to {last}: {in_table} are marked as acknowledged, {in_index} were")

    def _weigh(self, first: int, last: int) -> None:
        """Count the pending rows among these as acknowledged."""
        counts = self.counts
        rows, size = self._db.execute(
            f"SELECT count(*), ifnull(sum({_SIZE}), 0) FROM records NOT INDEXED"  # noqa: S608
            " WHERE acked_ms IS NULL AND seq BETWEEN ? AND ?",
            (first, last),
        ).fetchone()
        counts.pending_rows -= rows
        counts.pending_bytes -= size
        counts.acked_rows += rows
        counts.acked_bytes += size

    def _mark(self, first: int, last: int, now_ms: int) -> None:
        sql = "UPDATE records SET acked_ms = ? WHERE acked_ms IS NULL AND seq BETWEEN ? AND ?"
        self._db.execute(sql, (now_ms, first, last))

    def prune(self, rows_max: int) -> None:
        """Drop up to so many of the oldest acknowledged rows: those that are settled before others."""
        left = rows_max - self._drop("NOT INDEXED WHERE", self.counts.settled_seq, rows_max)
        if left > 0:
            # The second time for the row itself: by the first alone SQLite believes the index.
            marked = "acked_ms IS NOT NULL AND +acked_ms IS NOT NULL"
            self._drop(f"INDEXED BY records_marked WHERE {marked} AND", self.counts.last_seq, left)

    def _drop(self, which: str, newest: int, rows_max: int) -> int:
        """Drop the oldest of these, up to row `newest`; how many there were.

        One bound only: of two SQLite takes the first to look by, and reads every row up to it.
        """
        oldest = f"SELECT seq, {_SIZE} AS size FROM records {which} seq <= ? ORDER BY seq LIMIT {rows_max}"  # noqa: S608
        rows, size, last = self._db.execute(
            f"SELECT count(*), total(size), max(seq) FROM ({oldest})",  # noqa: S608
            (newest,),
        ).fetchone()
        if rows:
            self._db.execute(f"DELETE FROM records {which} seq <= ?", (last,))  # noqa: S608
            forget(self._db, min(last, self.counts.settled_seq))
            self.counts.acked_rows -= rows
            self.counts.acked_bytes -= int(size)
        return int(rows)


_AMONG = "seq IN (SELECT value FROM json_each(?))"
