"""The file in which accounts, sessions and API tokens stand; several processes may hold it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import BigInteger, Boolean, Column, Connection, Engine, ForeignKey, MetaData, String, Table
from sqlalchemy.exc import DatabaseError

from control_plane.database import open_engine, transaction
from shared.errors import ConfigError

_tables = MetaData()
accounts = Table(
    "accounts",
    _tables,
    Column("name", String, primary_key=True),
    Column("roles", String, nullable=False),  # separated by spaces
    Column("password", String),  # argon2's hash; none for who signs in elsewhere
    Column("one_time_until_us", BigInteger),  # the password must be changed, and is good until then
    Column("subject", String, unique=True),  # the OIDC provider and its name for this person
    Column("disabled", Boolean, nullable=False, default=False),
    Column("added_us", BigInteger, nullable=False),
)
sessions = Table(
    "sessions",
    _tables,
    Column("digest", String, primary_key=True),
    Column("account", String, ForeignKey("accounts.name"), nullable=False, index=True),
    Column("began_us", BigInteger, nullable=False),
    Column("seen_us", BigInteger, nullable=False),
)
api_tokens = Table(
    "api_tokens",
    _tables,
    Column("account", String, ForeignKey("accounts.name"), primary_key=True),
    Column("name", String, primary_key=True),
    Column("digest", String, unique=True, nullable=False),
    Column("scopes", String, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
)


class AccessDatabase:
    """Opened at the first use. Blocking; Retryable while it cannot be written, ConfigError when damaged."""

    def __init__(self, path: Path) -> None:
        self._path = path
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

    def _open(self) -> Engine:
        with self._opening:
            if self._engine is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.touch(mode=0o600)  # hashes are nobody else's to read
                engine = open_engine(self._path)
                with transaction(engine) as db:
                    _tables.create_all(db)
                self._engine = engine
            return self._engine

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            problem = f"{error.orig}; put it back from a backup, or move it away and add the accounts anew"
            raise ConfigError(str(self._path), [problem]) from error


def micros(time: datetime) -> int:
    """A time as the file has it: microseconds since 1970."""
    return int(time.timestamp() * 1_000_000)


def moment(time_us: int) -> datetime:
    """The time that the file has."""
    return datetime.fromtimestamp(time_us / 1_000_000, UTC)
