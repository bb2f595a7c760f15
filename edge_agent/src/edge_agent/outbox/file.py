"""The SQLite file: how it is opened, how a transaction ends, and whether it is damaged."""

import sqlite3
import time
from pathlib import Path

from sqlite_utils import Database

from edge_agent.outbox.schema import migrations

BUSY_TIMEOUT_S = 5.0
CHECK_S = 5.0  # a start does not wait longer for a look at every page: about 4 GiB from a page cache
CHECK_STEPS = 100_000  # SQLite's virtual machine steps between two looks at the clock
WAL_BYTES_KEPT = 16 << 20  # the write-ahead log is cut down to this after a large transaction
_INCREMENTAL = 2  # PRAGMA auto_vacuum: pages are given back when asked
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}

_NO_TEXT = "Could not decode to UTF-8"  # Python's own words: it gives them no error code


class Damaged(Exception):
    """The file cannot be trusted; the message says why."""


# What a call on a file may raise. Where SQLite's message quotes a damaged name, Python cannot make it a text.
FAILURES = (sqlite3.Error, UnicodeDecodeError, Damaged)


def is_damage(error: sqlite3.Error | UnicodeDecodeError | Damaged) -> bool:
    """Whether the file is malformed, no outbox, no database at all, has names of no text, or is read only.

    What is asked is always the same: where SQLite finds it wrong (SQLITE_ERROR), a name in the file is. One
    bit of its header makes a file read only, for ever; where it is the disk that takes nothing, no other file
    can take its place, and nothing happens.
    """
    if not isinstance(error, sqlite3.Error):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return str(error).startswith(_NO_TEXT)
    return code == sqlite3.SQLITE_READONLY or code & 0xFF in _DAMAGED


def connect(path: Path, journal: str = "WAL") -> sqlite3.Connection:
    """A connection whose commits are flushed to the disk, to a file that can give space back."""
    db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
    try:
        db.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
        db.execute(f"PRAGMA journal_mode = {journal}")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
        db.execute("PRAGMA secure_delete = OFF")  # some builds write zeroes over each row that is pruned
    except BaseException:
        db.close()
        raise
    return db


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that cannot write and reads what is no text; FileNotFoundError when there is no file."""
    if not path.exists():
        raise FileNotFoundError(path)
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S
    )
    db.text_factory = lambda data: data.decode(errors="replace")
    db.execute("PRAGMA query_only = ON")
    return db


def check(db: sqlite3.Connection) -> None:
    """Damaged when a page does not hold together, or an index does not fit its table.

    A look that takes too long is broken off.
    """
    end = time.monotonic() + CHECK_S
    db.set_progress_handler(lambda: time.monotonic() > end, CHECK_STEPS)
    try:
        [(found,)] = db.execute("PRAGMA integrity_check(1)").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return
    finally:
        db.set_progress_handler(None, 0)
    if found != "ok":
        raise Damaged(str(found))


def migrate(db: sqlite3.Connection) -> None:
    """Bring the tables up to date; a file of before it could give space back is rewritten once."""
    try:
        migrations.apply(Database(db))
    except LookupError as error:  # a column of its own table has another name
        raise Damaged(f"what was done to its tables cannot be read: no {error}") from error
    if db.execute("PRAGMA auto_vacuum").fetchone()[0] != _INCREMENTAL:
        try:
            db.execute("VACUUM")
        except sqlite3.OperationalError as error:
            if is_damage(error):
                raise  # else there is no room for a second copy now: the next start tries again


def wal(path: Path) -> Path:
    """The write-ahead log of a file."""
    return path.with_name(f"{path.name}-wal")


def file_set(path: Path) -> list[Path]:
    """The file, its write-ahead log and its index of that."""
    return [path, wal(path), path.with_name(f"{path.name}-shm")]


class transaction:  # noqa: N801 - reads as a keyword where it is used
    """BEGIN IMMEDIATE ... COMMIT, or ROLLBACK on any error, of COMMIT too: a full disk is found there."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                self._db.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
        else:
            self._roll_back()

    def _roll_back(self) -> None:
        if self._db.in_transaction:  # some errors have rolled back already
            self._db.execute("ROLLBACK")
