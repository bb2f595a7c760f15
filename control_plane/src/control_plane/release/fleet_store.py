"""The centre's own state in SQLite or PostgreSQL: sites that have called, and the journal of roll-outs."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    DateTime,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    func,
    insert,
    select,
    text,
    update,
)

from control_plane.database import open_engine, transaction
from control_plane.release import migrations
from control_plane.release.journal import ANSWERS, Event, Kind, Numbered
from shared.errors import Rejected, Retryable
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
    """Sites and roll-outs; any number of processes may use one at a time.

    `where` is a SQLite file, or an SQLAlchemy URL such as `postgresql+psycopg://user@host/name`.
    """

    def __init__(self, where: Path | str) -> None:
        self.where = where
        self._engine: Engine | None = None

    def seen(
        self,
        site_id: str,
        audit_key: str,
        agent_version: str,
        store_id: str,
        models: list[dict[str, Any]],
        *,
        enrolled: bool = False,
    ) -> None:
        """Note that a site called. An enrolled site's audit key is the one it was enrolled with; of another
        the first is trusted, and Rejected when it comes with another."""
        values: dict[str, Any] = {"agent_version": agent_version, "store_id": store_id, "models": models}
        values["last_seen"] = _naive(utc_now())
        with self._writing() as db:
            known = db.execute(select(_sites.c.audit_key).where(_sites.c.site_id == site_id)).scalar()
            if known is None:
                db.execute(insert(_sites).values(site_id=site_id, audit_key=audit_key, **values))
            elif enrolled:
                values["audit_key"] = audit_key
                db.execute(update(_sites).where(_sites.c.site_id == site_id).values(**values))
            elif known != audit_key:
                raise Rejected(
                    f"{site_id} comes with another audit key than the one first seen; "
                    "if its disk was replaced, an engineer must enrol it again"
                )
            else:
                db.execute(update(_sites).where(_sites.c.site_id == site_id).values(**values))

    def running(self, models: Mapping[str, list[dict[str, Any]]]) -> None:
        """Note what sites say they run now, by site."""
        now = _naive(utc_now())
        with self._writing() as db:
            for site, own in models.items():
                db.execute(update(_sites).where(_sites.c.site_id == site).values(models=own, last_seen=now))

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

    def append(self, events: Iterable[Event], after: int | None = None) -> None:
        """Add lines to the journal, together.

        With `after`, only where that is still the last number: Retryable when somebody else was faster.
        An answer that repeats the site's last one is not written again; of a site's health reports on one
        command only the newest stays, as its figures cover all before it. So the journal is bounded by
        what happened, not by how long sites report.
        """
        with self._writing() as db:
            if after is not None and _last(db) != after:
                raise Retryable("the journal of roll-outs went on meanwhile")
            for line in events:
                if line.kind in ANSWERS and _repeats(db, line):
                    continue
                row = line._asdict() | {"kind": line.kind.value, "at": _naive(line.at)}
                number = db.execute(insert(_journal).values(**row).returning(_journal.c.number)).scalar_one()
                if line.kind is Kind.HEALTH:
                    db.execute(delete(_journal).where(*_of(line), _is_health, _journal.c.number < number))

    def events(self, after: int = 0) -> list[Numbered]:
        """The journal in order, from the line after number `after`."""
        query = select(_journal).where(_journal.c.number > after).order_by(_journal.c.number)
        with self._open().connect() as db:
            return [
                Numbered(
                    row.number,
                    Event(
                        row.rollout_id, row.generation, row.site, Kind(row.kind), row.detail,
                        row.at.replace(tzinfo=UTC),
                    ),
                )
                for row in db.execute(query)
            ]  # fmt: skip

    def last(self) -> int:
        """The number of the newest line, 0 for an empty journal: cheap to ask often."""
        with self._open().connect() as db:
            return _last(db)

    def close(self) -> None:
        """Close every connection; the next use opens them again."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _open(self) -> Engine:
        if self._engine is None:
            engine = open_engine(self.where)
            with transaction(engine) as db:
                migrations.upgrade(db)
            self._engine = engine
        return self._engine

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that no other writer overlaps: numbers are handed out in the order of commits."""
        with transaction(self._open()) as db:
            if db.dialect.name == "postgresql":
                db.execute(text("LOCK TABLE journal, sites IN EXCLUSIVE MODE"))
            yield db


_is_health = _journal.c.kind == Kind.HEALTH.value


def _of(line: Event) -> tuple[Any, ...]:
    own = _journal.c
    return (
        own.rollout_id == line.rollout_id,
        own.site == line.site,
        own.generation == line.generation,
    )


def _repeats(db: Connection, line: Event) -> bool:
    said = (_journal.c.kind.in_([kind.value for kind in ANSWERS]), *_of(line))
    newest = select(_journal.c.kind, _journal.c.detail).where(*said).order_by(_journal.c.number.desc())
    row = db.execute(newest.limit(1)).first()
    return row is not None and tuple(row) == (line.kind.value, line.detail)


def _last(db: Connection) -> int:
    return int(db.execute(select(func.max(_journal.c.number))).scalar() or 0)


def _naive(time: datetime) -> datetime:
    """The tables keep no time zone; every time in them is UTC."""
    return time.astimezone(UTC).replace(tzinfo=None)
