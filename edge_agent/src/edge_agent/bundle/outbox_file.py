"""The outbox file as a reader sees it: its stores and their committed rows, acknowledged or not."""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Self

from edge_agent.outbox.rows import is_intact
from shared.bundle import BundleRow
from shared.errors import ConfigError, Retryable
from shared.schemas import Outgoing

PAGE_ROWS = 2_000  # read at a time: a long read would keep the agent's write-ahead log from shrinking
BUSY_TIMEOUT_S = 5.0


class StorePart(NamedTuple):
    """Rows `first` to `last` of a store; the file's own numbers are higher by `base`."""

    store_id: str
    base: int
    first: int
    last: int

    @property
    def size(self) -> int:
        """How many rows at most."""
        return self.last - self.first + 1


class OutboxFile:
    """Reads; use it as a context manager. Retryable when the file cannot be read now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection

    def __enter__(self) -> Self:
        if not self._path.exists():
            raise ConfigError("--data-dir", [f"no {self._path.name} in {self._path.parent}"])
        uri = f"{self._path.absolute().as_uri()}?mode=ro"
        self._db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def parts(self, since: datetime) -> list[StorePart]:
        """From the first row whose source time is not before `since` to the newest there is now.

        Every row after that first one is in, whatever its time: a clock may have been set back.
        """
        since_ms = int(since.timestamp() * 1000)
        [(first, last)] = self._ask(
            "SELECT (SELECT min(seq) FROM records WHERE time_ms >= ?), (SELECT max(seq) FROM records)",
            since_ms,
        )
        if first is None:
            return []
        begun = self._stores()
        ends = [base for base, _ in begun[1:]] + [last]
        parts = [
            StorePart(store_id, base, max(first - base, 1), end - base)
            for (base, store_id), end in zip(begun, ends, strict=True)
        ]
        return [part for part in parts if part.size > 0]

    def rows(self, part: StorePart, corrupt: Callable[[int], None]) -> Iterator[BundleRow]:
        """The part's rows, in order; `corrupt` is told the number of one that is not what was committed."""
        crc = "crc" if self._has_checksums() else "NULL"
        sql = (
            f"SELECT seq, schema, key, time_ms, body, {crc} FROM records"  # noqa: S608 - two constants
            " WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?"
        )
        at, end = part.base + part.first, part.base + part.last
        while page := self._ask(sql, at, end, PAGE_ROWS):
            for seq, *record, crc in page:
                if is_intact(seq, record, crc):
                    yield BundleRow(seq - part.base, Outgoing(*record))
                else:
                    corrupt(seq - part.base)
            at = page[-1][0] + 1

    def _stores(self) -> list[tuple[int, str]]:
        """`(row above which it begins, store_id)`, ascending; an older agent's file has one store."""
        if self._ask("SELECT 1 FROM sqlite_master WHERE name = 'stores'"):
            return self._ask("SELECT base, store_id FROM stores ORDER BY base")
        return self._ask("SELECT 0, value FROM meta WHERE key = 'store_id'")

    def _has_checksums(self) -> bool:
        """An older agent's rows have none."""
        return bool(self._ask("SELECT 1 FROM pragma_table_info('records') WHERE name = 'crc'"))

    def _ask(self, sql: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise Retryable(f"{self._path}: the outbox cannot be read: {error}") from error
