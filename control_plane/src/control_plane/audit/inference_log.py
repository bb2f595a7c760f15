"""The record of the centre's inference: an RFC 6962 log in one SQLite file, with the windows beside it.

One process writes (see `spool`), any number read. Each group of entries commits together with a C2SP
checkpoint over it, signed by the log's own key; the witness co-signs it and keeps it as files, as a site's
log. Both keys lie at the centre: whoever owns that can write another log, and only a checkpoint that
somebody else kept tells the two apart.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from control_plane.audit.archive import Leaf
from control_plane.audit.inference_entry import InferenceEntry
from control_plane.audit.own_log import OwnLog
from shared.checkpoint import Checkpoint, sign_note
from shared.errors import ConfigError
from shared.log_key import LogKey
from shared.merkle import Frontier, leaf_hash

ORIGIN = "pm-stack-smr/inference"
INFERENCE_LOG = "inference"  # its name beside the sites': of its key, its rows and its folder of files
INFERENCE = "the centre's inference"  # beside sites' names, none of which has a space
LOCK_TIMEOUT_S = 30.0


class Written(NamedTuple):
    """An entry's leaf; of a prediction also its id and its window."""

    leaf: bytes
    prediction_id: str | None = None
    window: bytes | None = None


_TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS entries (
    "index" INTEGER PRIMARY KEY, prediction_id TEXT, body TEXT NOT NULL, "window" BLOB) STRICT;
CREATE INDEX IF NOT EXISTS by_prediction ON entries (prediction_id);
CREATE TABLE IF NOT EXISTS checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS tree (
    one INTEGER PRIMARY KEY CHECK (one = 1), frontier BLOB NOT NULL, segment INTEGER NOT NULL) STRICT;
"""


class InferenceLog(OwnLog):
    """The log in `folder`."""

    origin, title, name, entry = ORIGIN, INFERENCE, "the inference log", InferenceEntry

    @classmethod
    def of(cls, folder: Path) -> Self:
        """With the key that lies there, made at the first call."""
        return cls(folder, LogKey.load_or_create(folder / "inference.pem"))

    def create(self) -> None:
        """Make the file; ConfigError when it is damaged."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._opened() as db:
            db.executescript(_TABLES)

    def position(self) -> tuple[int, int]:
        """Entries so far, and the last spool segment whose records are in the log."""
        with self._opened() as db:
            frontier, segment = _tree(db)
            return frontier.size, segment

    def commit(self, segment: int | None, entries_from: Callable[[int], Iterable[Written]]) -> None:
        """Add a spool segment's entries, counted from the index given, and a checkpoint, flushed to disk.

        Nothing when the log has that segment already. ConfigError when the file is damaged or full.
        """
        with self._opened() as db:
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            frontier, last = _tree(db)
            if segment is not None and segment <= last:
                db.execute("ROLLBACK")
                return
            before = frontier.size
            rows = _rows(frontier, entries_from(before))
            db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", rows)
            if frontier.size > before:
                text = Checkpoint(ORIGIN, frontier.size, frontier.root()).text
                note = sign_note(text, ORIGIN, self._key.private)
                db.execute("INSERT INTO checkpoints VALUES (?, ?)", (frontier.size, note))
            db.execute("REPLACE INTO tree VALUES (1, ?, ?)", (frontier.to_bytes(), segment or last))
            db.execute("COMMIT")

    def entries(self, first: int = 0) -> Iterator[InferenceEntry]:
        """The same, read."""
        return (InferenceEntry.model_validate_json(leaf.data) for leaf in self.leaves(first))

    def prediction_ids(self) -> list[str]:
        """Of every prediction on the record, in order."""
        sql = 'SELECT prediction_id FROM entries WHERE prediction_id IS NOT NULL ORDER BY "index"'
        return [found for (found,) in self._rows(sql)]

    def find(self, prediction_id: str) -> tuple[InferenceEntry, bytes] | None:
        """A prediction's entry and window."""
        found = self.find_leaf(prediction_id)
        return (InferenceEntry.model_validate_json(found[0].data), found[1]) if found else None

    def find_leaf(self, prediction_id: str) -> tuple[Leaf, bytes] | None:
        """A prediction's entry as it is, and its window."""
        sql = 'SELECT "index", body, "window" FROM entries WHERE prediction_id = ?'
        for index, body, window in self._rows(sql, prediction_id):
            return Leaf(index, body.encode()), window
        return None

    def _rows(self, sql: str, *values: int | str) -> Iterator[Sequence]:  # type: ignore[type-arg]
        if self._path.exists():
            with self._opened() as db:
                yield from db.execute(sql, values)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=LOCK_TIMEOUT_S, isolation_level=None)) as db:
                yield db
        except sqlite3.DatabaseError as error:
            raise ConfigError(str(self._path), [f"cannot be read or written: {error}"]) from error


def _tree(db: sqlite3.Connection) -> tuple[Frontier, int]:
    """The tree so far, of what was signed, and the last segment; ConfigError when entries are missing."""
    row = db.execute("SELECT frontier, segment FROM tree").fetchone()
    frontier, segment = (Frontier.from_bytes(row[0]), row[1]) if row else (Frontier(), 0)
    [(last,)] = db.execute('SELECT coalesce(max("index"), -1) FROM entries').fetchall()
    if frontier.size != last + 1:
        problem = f"has {last + 1} entries, its tree {frontier.size}: restore it from a backup"
        raise ConfigError("the inference log", [problem])
    return frontier, segment


def _rows(frontier: Frontier, entries: Iterable[Written]) -> Iterator[tuple[object, ...]]:
    """Rows of the table, as each entry becomes a leaf of the tree."""
    for leaf, prediction_id, window in entries:
        yield frontier.size, prediction_id, leaf.decode(), window
        frontier.append(leaf_hash(leaf))
