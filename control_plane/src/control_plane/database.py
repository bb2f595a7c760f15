"""How the centre opens its databases: SQLite files that several processes write, or another by its URL."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError

from shared.errors import ConfigError, Retryable

BUSY_S = 20.0  # for another process to end its transaction; each takes milliseconds
AGAIN_S = 0.01  # before a new file is asked for its write-ahead log again


def open_engine(where: Path | str) -> Engine:
    """The engine of a SQLite file (its folder is made), or of an SQLAlchemy URL."""
    if isinstance(where, str):
        return create_engine(where)
    where.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(f"sqlite:///{where}", connect_args={"timeout": BUSY_S})
    event.listen(engine, "connect", _durable)
    event.listen(engine, "begin", _begin)
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes; Retryable where the database cannot take it now."""
    try:
        with engine.connect().execution_options(writes=True) as db, db.begin():
            yield db
    except OperationalError as error:
        raise Retryable(f"the centre's database cannot be written: {error.orig}") from error


class DatabaseFile:
    """A SQLite file with `tables`, made at the first use; any number of processes may hold one. Blocking.

    Retryable while it cannot be written (a full disk, another writer that hangs), ConfigError, with `remedy`,
    when it is damaged.
    """

    def __init__(self, path: Path, tables: MetaData, remedy: str) -> None:
        self._path, self._tables, self._remedy = path, tables, remedy
        self._engine: Engine | None = None
        self._opening = threading.Lock()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that no other writer comes between."""
        with self._named_errors(), transaction(self._open()) as db:
            yield db

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One moment of the file."""
        with self._named_errors(), self._open().connect() as db:
            yield db

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._opening:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _open(self) -> Engine:
        with self._opening:
            if self._engine is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.touch(mode=0o600)  # hashes and names are nobody else's to read
                engine = open_engine(self._path)
                with transaction(engine) as db:
                    self._tables.create_all(db)
                self._engine = engine
            return self._engine

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            raise ConfigError(str(self._path), [f"{error.orig}; {self._remedy}"]) from error


def _durable(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # this module begins transactions itself
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous = FULL")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """The change to a write-ahead log heeds no timeout: of two that open a new file at once, SQLite refuses
    one on the spot."""
    ends = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > ends:
                raise
        time.sleep(AGAIN_S)


def _begin(db: Connection) -> None:
    """A writer takes the file at once: one that first reads and then writes could be refused half way."""
    db.exec_driver_sql("BEGIN IMMEDIATE" if db.get_execution_options().get("writes") else "BEGIN")
