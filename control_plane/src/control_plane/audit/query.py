"""Questions to the table `audit_log`, and its export as Parquet or SQLite."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from control_plane.audit.audit_table import SCHEMA, SITES_SQL, refresh_parts
from control_plane.layout import Layout
from control_plane.sinks.lake import LakeReader
from control_plane.sinks.lake_place import has_table
from control_plane.sinks.lake_tables import TABLES
from shared.errors import ConfigError, Retryable
from shared.schemas import AuditEntry

Row = dict[str, Any]


class Question(NamedTuple):
    """What entries must have; None asks for nothing. `model_version` may be `7` or `name/7`; times are
    aware, `since` included, `until` not. `log` is a site, or `inference` for the centre's own. `mode` is
    `active`, `shadow` or `exploration`: what somebody tried out in the viewer, nothing of the plant's."""

    log: str | None = None
    site: str | None = None
    component: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    model_version: str | None = None
    flag: str | None = None
    event: str | None = None
    prediction_id: str | None = None
    mode: str | None = None


_ASKED = """
SELECT * FROM ({tables}) WHERE ($log IS NULL OR log = $log)
    AND ($site IS NULL OR site_id = $site)
    AND ($component IS NULL OR component = $component)
    AND ($since IS NULL OR timestamp >= $since::TIMESTAMPTZ)
    AND ($until IS NULL OR timestamp < $until::TIMESTAMPTZ)
    AND ($model_version IS NULL OR $model_version IN (model_version, model_name || '/' || model_version))
    AND ($flag IS NULL OR list_contains(flags, $flag))
    AND ($event IS NULL OR event = $event)
    AND ($mode IS NULL OR mode = $mode)
    AND ($prediction_id IS NULL OR prediction_id = $prediction_id)
ORDER BY timestamp DESC, log, "index" DESC {limit}
"""


def ask(layout: Layout, question: Question, limit: int | None = None) -> list[Row]:
    """The entries of `audit_log` that fit, newest first; Retryable while nothing is on any record."""
    tables = _tables(layout)
    if not tables:
        raise Retryable(f"{layout.data_dir}: nothing is on the record yet")
    cut = f"LIMIT {limit:d}" if limit is not None else ""
    sql = _ASKED.format(tables=" UNION ALL BY NAME ".join(tables), limit=cut)
    return LakeReader(layout.lake).rows(sql, **question._asdict())


def write(rows: list[Row], path: Path) -> None:
    """Write rows of `audit_log` as Parquet (`.parquet`) or SQLite (`.sqlite`, `.db`), by the name's end.

    ConfigError for another end, or a file that is there already.
    """
    writers: dict[str, Callable[[list[Row], Path], None]] = {
        ".parquet": _write_parquet, ".sqlite": _write_sqlite, ".db": _write_sqlite,
    }  # fmt: skip
    if path.suffix not in writers:
        raise ConfigError(str(path), [f"found the end {path.suffix!r}; there are {', '.join(writers)}"])
    if path.exists():
        raise ConfigError(str(path), ["is there already; give the name of a new file"])
    writers[path.suffix](rows, path)


def _tables(layout: Layout) -> list[str]:
    """The parts of `audit_log` that are there, as SQL."""
    found = []
    if has_table(layout.lake, TABLES[AuditEntry.SCHEMA].name):
        found.append(SITES_SQL)
    if layout.has_inference_log:
        parts = refresh_parts(layout.inference_log(), layout.audit_log)
        if parts:
            names = ", ".join(_quoted(str(part)) for part in parts)
            found.append(f"SELECT * FROM read_parquet([{names}])")  # noqa: S608 - names that we gave
    return found


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _write_parquet(rows: list[Row], path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)


def _write_sqlite(rows: list[Row], path: Path) -> None:
    """Times as RFC 3339 text, flags as a JSON list."""
    columns = [f'"{field.name}" {_sqlite_type(field.type)}' for field in SCHEMA]
    marks = ", ".join("?" * len(SCHEMA))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"CREATE TABLE audit_log ({', '.join(columns)}) STRICT")
        db.execute('CREATE UNIQUE INDEX by_entry ON audit_log (log, "index")')
        db.execute("CREATE INDEX by_component ON audit_log (site_id, component, timestamp)")
        plain = ([_plain(row[name]) for name in SCHEMA.names] for row in rows)
        db.executemany(f"INSERT INTO audit_log VALUES ({marks})", plain)  # noqa: S608 - only marks


def _sqlite_type(kind: pa.DataType) -> str:
    return {pa.int64(): "INTEGER", pa.float64(): "REAL"}.get(kind, "TEXT")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return json.dumps(value) if isinstance(value, list) else value
