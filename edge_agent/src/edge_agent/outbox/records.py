"""The table of records, and the counts of what is in it. Every call runs within the caller's transaction."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

from edge_agent.outbox.gaps import runs
from edge_agent.outbox.limits import ROW_OVERHEAD_BYTES, OutboxLimits
from edge_agent.outbox.rows import checksum
from shared.schemas import Outgoing

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
    newest gap record that tells of refused rows.
    """

    last_seq: int = 0
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

    def load(self) -> bool:
        """Count what is there; False when the index and the table do not agree."""
        self.counts = Counts(last_seq=self._last_seq())
        for pending, rows, size in self._db.execute(
            f"SELECT acked_ms IS NULL, count(*), total({_SIZE}) FROM records NOT INDEXED GROUP BY 1"  # noqa: S608
        ):
            if pending:
                self.counts.pending_rows, self.counts.pending_bytes = rows, int(size)
            else:
                self.counts.acked_rows, self.counts.acked_bytes = rows, int(size)
        indexed = "SELECT count(*) FROM records INDEXED BY records_pending WHERE acked_ms IS NULL"
        return bool(self._db.execute(indexed).fetchone()[0] == self.counts.pending_rows)

    def _last_seq(self) -> int:
        sql = (
            "SELECT max(ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'records'), 0),"
            " ifnull((SELECT max(seq) FROM records), 0))"
        )
        return int(self._db.execute(sql).fetchone()[0])

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

    def oldest(self, schemas: tuple[str, ...]) -> Iterable[Held]:
        """Pending rows of these schemas, oldest first."""
        marks = ", ".join("?" * len(schemas))
        found = self._db.execute(
            f"SELECT seq, schema, key, time_ms, {_SIZE} FROM records WHERE acked_ms IS NULL AND seq > ?"  # noqa: S608
            f" AND schema IN ({marks}) ORDER BY seq",
            (self.counts.emptied.get(schemas, 0), *schemas),
        )
        return map(Held._make, found)

    def body(self, seq: int) -> bytes | None:
        """What a pending row holds; None when it is not pending."""
        sql = "SELECT body FROM records WHERE seq = ? AND acked_ms IS NULL"
        found = self._db.execute(sql, (seq,)).fetchone()
        return None if found is None else bytes(found[0])

    def remove(self, seqs: Iterable[int]) -> None:
        """Take pending rows out."""
        rows, size = self._sized(
            f"DELETE FROM records WHERE acked_ms IS NULL AND {_AMONG} RETURNING {_SIZE}",  # noqa: S608
            seqs,
        )
        self.counts.pending_rows -= rows
        self.counts.pending_bytes -= size
        self.counts.given_up_rows += rows

    def acknowledge(self, seqs: Collection[int], now_ms: int) -> None:
        """Note that these need not be sent again; rows that are not pending stay as they are."""
        counts = self.counts
        for first, last in runs(seqs):
            among = "acked_ms IS NULL AND seq BETWEEN ? AND ?"
            rows, size = self._db.execute(
                f"SELECT count(*), ifnull(sum({_SIZE}), 0) FROM records WHERE {among}",  # noqa: S608
                (first, last),
            ).fetchone()
            self._db.execute(f"UPDATE records SET acked_ms = ? WHERE {among}", (now_ms, first, last))  # noqa: S608
            counts.pending_rows -= rows
            counts.pending_bytes -= size
            counts.acked_rows += rows
            counts.acked_bytes += size

    def prune(self, rows_max: int) -> None:
        """Drop up to so many of the oldest acknowledged rows."""
        chosen = self._db.execute(
            "SELECT seq FROM records WHERE acked_ms IS NOT NULL ORDER BY seq LIMIT ?", (rows_max,)
        ).fetchall()
        rows, size = self._sized(
            f"DELETE FROM records WHERE {_AMONG} RETURNING {_SIZE}",  # noqa: S608
            [seq for (seq,) in chosen],
        )
        self.counts.acked_rows -= rows
        self.counts.acked_bytes -= size

    def _sized(self, sql: str, seqs: Iterable[int]) -> tuple[int, int]:
        """Rows and bytes that a statement over `seqs` returned."""
        sizes = self._db.execute(sql, (json.dumps(list(seqs)),)).fetchall()
        return len(sizes), sum(size for (size,) in sizes)


_AMONG = "seq IN (SELECT value FROM json_each(?))"
