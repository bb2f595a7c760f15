"""The centre's own state in SQLite: sites that have called, and the journal of roll-outs."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    insert,
    select,
    update,
)

from control_plane.release.rollout import Event, Kind
from shared.errors import Rejected
from shared.schemas import utc_now

_tables = MetaData()
_sites = Table(
    "sites",
    _tables,
    Column("site_id", String, primary_key=True),
    Column("audit_key", String, nullable=False),
    Column("agent_version", String, nullable=False),
    Column("store_id", String, nullable=False),
    Column("models", JSON, nullable=False),
    Column("last_seen", DateTime, nullable=False),
)
_journal = Table(
    "journal",
    _tables,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("rollout_id", String, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("site", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("detail", String, nullable=False),
    Column("at", DateTime, nullable=False),
)


class FleetStore:
    """Sites and roll-outs in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine: Engine | None = None

    def _open(self) -> Engine:
        if self._engine is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._engine = create_engine(f"sqlite:///{self._path}")
            event.listen(self._engine, "connect", _durable)
            _tables.create_all(self._engine)
        return self._engine

    def seen(
        self, site_id: str, audit_key: str, agent_version: str, store_id: str, models: list[dict[str, Any]]
    ) -> None:
        """Note that a site called. Its first audit key is trusted; Rejected when it comes with another."""
        values: dict[str, Any] = {"agent_version": agent_version, "store_id": store_id, "models": models}
        values["last_seen"] = _naive(utc_now())
        with self._open().begin() as db:
            known = db.execute(select(_sites.c.audit_key).where(_sites.c.site_id == site_id)).scalar()
            if known is None:
                db.execute(insert(_sites).values(site_id=site_id, audit_key=audit_key, **values))
            elif known != audit_key:
                raise Rejected(
                    f"{site_id} comes with another audit key than the one first seen; "
                    "if its disk was replaced, an engineer must enrol it again"
                )
            else:
                db.execute(update(_sites).where(_sites.c.site_id == site_id).values(**values))

    def running(self, site_id: str, models: list[dict[str, Any]]) -> None:
        """Note what a site says it runs now."""
        with self._open().begin() as db:
            db.execute(
                update(_sites)
                .where(_sites.c.site_id == site_id)
                .values(models=models, last_seen=_naive(utc_now()))
            )

    def sites(self) -> list[dict[str, Any]]:
        """Every site that has called: key, versions, running models, last time seen (aware UTC)."""
        with self._open().connect() as db:
            rows = db.execute(select(_sites).order_by(_sites.c.site_id)).mappings()
            return [dict(row) | {"last_seen": row["last_seen"].replace(tzinfo=UTC)} for row in rows]

    def audit_key(self, site_id: str) -> str | None:
        """The audit key that a site first came with."""
        with self._open().connect() as db:
            key: str | None = db.execute(
                select(_sites.c.audit_key).where(_sites.c.site_id == site_id)
            ).scalar()
            return key

    def append(self, events: Iterable[Event]) -> None:
        """Add lines to the journal, together."""
        rows = [
            {**vars(e), "kind": e.kind.value, "at": _naive(e.at)}
            for e in events
        ]  # fmt: skip
        with self._open().begin() as db:
            db.execute(insert(_journal), rows)

    def events(self) -> list[Event]:
        """The whole journal, in order."""
        with self._open().connect() as db:
            rows = db.execute(select(_journal).order_by(_journal.c.number)).mappings()
            return [
                Event(
                    row["rollout_id"], row["generation"], row["site"], Kind(row["kind"]), row["detail"],
                    row["at"].replace(tzinfo=UTC),
                )
                for row in rows
            ]  # fmt: skip


def _durable(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _naive(time: datetime) -> datetime:
    """SQLite keeps no time zone; every time in this file is UTC."""
    return time.astimezone(UTC).replace(tzinfo=None)
