"""Looks into an outbox file beside the agent that owns it: read only, in short looks.

A look that lasted would keep SQLite from taking its write-ahead log back; so an export reads some rows
at a time, and what is committed meanwhile is in it.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

from edge_agent.outbox import anchor as anchors
from edge_agent.outbox import notes
from edge_agent.outbox.file import FAILURES, connect_to_read, file_set
from edge_agent.outbox.limits import ROW_OVERHEAD_BYTES
from edge_agent.outbox.records import IS_PENDING
from edge_agent.outbox.rows import Row, Stores, is_intact
from edge_agent.outbox.settled import ACKED_MS, settled_seq
from shared.errors import ConfigError, Retryable
from shared.schemas import Outgoing

ROWS_AT_ONCE = 500


class Seen(NamedTuple):
    """A row as it is in the file. `intact` is false when it does not fit its checksum."""

    row: Row
    acked_ms: int | None
    intact: bool


class Contents(NamedTuple):
    """What a file holds. Times are source times in milliseconds; None where nothing is pending."""

    store_id: str
    last_seq: int
    pending_rows: int
    pending_bytes: int
    pending_by_schema: dict[str, int]
    acked_rows: int
    oldest_ms: int | None
    newest_ms: int | None
    log_entries: int | None
    size_bytes: int
    set_aside: list[str]


class OutboxReader:
    """Use it as a context manager; ConfigError when there is no such file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection
        self._stores: Stores

    def __enter__(self) -> Self:
        try:
            self._db = connect_to_read(self._path)
        except FileNotFoundError as error:
            problem = f"{self._path} does not exist; expected the folder that the agent was given"
            raise ConfigError("--data-dir", [problem]) from error
        try:
            self._stores = Stores(self._db.execute("SELECT base, store_id FROM stores").fetchall())
            settled_seq(self._db)
        except FAILURES as error:
            self._db.close()
            problem = (
                f"{self._path} cannot be read as an outbox: {error}; starting the agent brings it up to date"
            )
            raise Retryable(problem) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def contents(self) -> Contents:
        """How much of what there is."""
        pending = self._db.execute(
            "SELECT schema, count(*), total(length(body) + length(key)), min(time_ms), max(time_ms)"  # noqa: S608
            f" FROM records WHERE {IS_PENDING} GROUP BY schema ORDER BY schema",
            (settled_seq(self._db),),
        ).fetchall()
        kept = self._db.execute("SELECT count(*) FROM records").fetchone()[0]
        last = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()
        base, store_id = self._stores.newest
        rows = sum(found[1] for found in pending)
        anchor = anchors.read(self._path)
        aside = sorted(self._path.parent.glob(f"{self._path.name}.damaged-*Z"))
        return Contents(
            store_id,
            (last[0] if last else base) - base,
            rows,
            int(sum(found[2] for found in pending)) + ROW_OVERHEAD_BYTES * rows,
            {found[0]: found[1] for found in pending},
            kept - rows,
            min((found[3] for found in pending), default=None),
            max((found[4] for found in pending), default=None),
            anchor.log.size if anchor else None,
            sum(part.stat().st_size for part in file_set(self._path) if part.exists()),
            [str(part) for part in aside],
        )

    def notes(self) -> dict[str, str]:
        """What was noted beside the records, by name."""
        return notes.read(self._db)

    def rows(self, acknowledged: bool = False, limit: int | None = None) -> Iterator[Seen]:
        """Pending rows in order; with `acknowledged`, also those that are kept after it."""
        which = "1" if acknowledged else "acked_ms IS NULL"
        sql = (
            f"SELECT seq, schema, key, time_ms, body, crc,"  # noqa: S608
            f" CASE WHEN {IS_PENDING} THEN NULL ELSE {ACKED_MS} END"
            f" FROM records WHERE {which} AND seq > ? ORDER BY seq LIMIT ?"
        )
        after, left = -1, limit
        while left is None or left > 0:
            settled = settled_seq(self._db)
            start = after if acknowledged else max(after, settled)
            found = self._db.execute(
                sql, (settled, start, min(left or ROWS_AT_ONCE, ROWS_AT_ONCE))
            ).fetchall()
            if not found:
                return
            for seq, *record, crc, acked_ms in found:
                row = Row(seq, Outgoing(*record), *self._stores.place(seq))
                yield Seen(row, acked_ms, is_intact(seq, record, crc))
            after = found[-1][0]
            left = None if left is None else left - len(found)
