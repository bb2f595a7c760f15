"""The file in which accounts, sessions and API tokens stand; several processes may hold it."""

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, MetaData, String, Table

from control_plane.database import DatabaseFile

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


class AccessDatabase(DatabaseFile):
    """The file at `path`."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, _tables, "put it back from a backup, or move it away and add the accounts anew"
        )


def micros(time: datetime) -> int:
    """A time as the file has it: microseconds since 1970."""
    return int(time.timestamp() * 1_000_000)


def moment(time_us: int) -> datetime:
    """The time that the file has."""
    return datetime.fromtimestamp(time_us / 1_000_000, UTC)
