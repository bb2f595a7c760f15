"""Brings the centre's database up to the tables of this version, SQLite or PostgreSQL."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

HEAD = "0002"
_LOCK = 7_701_017  # PostgreSQL: two processes that start together must not both make the tables


def upgrade(connection: Connection) -> None:
    """Apply what is missing, inside the connection's transaction. Alembic is imported only then."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    if _version(connection) == HEAD:
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found
