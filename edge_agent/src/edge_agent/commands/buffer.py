"""`edge-agent buffer`."""

import json
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.table import Table

from edge_agent.commands.check import JsonOption
from edge_agent.outbox.reader import Contents, OutboxReader, Seen
from shared.command_line import console

BODY_CHARACTERS = 100  # of a record's JSON in the table of `peek`

DataDirOption = Annotated[Path, typer.Option(envvar="EDGE_DATA_DIR", help="of the agent")]
app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """What this site has recorded and Kafka has not acknowledged yet. Safe while the agent runs."""


@app.command()
def stats(*, data_dir: DataDirOption, as_json: JsonOption = False) -> None:
    """How many rows and bytes wait, of what, since when.

    Example: edge-agent buffer stats --data-dir /var/lib/edge-agent
    """
    with _reader(data_dir) as reader:
        contents = reader.contents()
    told = _told(contents)
    if as_json:
        print(json.dumps(told))
        return
    table = Table("outbox", str(data_dir / "outbox.db"))
    for name, value in told.items():
        if isinstance(value, dict):
            value = ", ".join(f"{schema} {rows:,}" for schema, rows in value.items())
        elif isinstance(value, list):
            value = "\n".join(value)
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value or "-"))
    console().print(table)


@app.command()
def peek(
    *,
    data_dir: DataDirOption,
    rows: Annotated[int, typer.Option(min=1, max=1_000, help="how many")] = 10,
    as_json: JsonOption = False,
) -> None:
    """The rows that go next, oldest first.

    Example: edge-agent buffer peek --data-dir /var/lib/edge-agent --rows 3
    """
    with _reader(data_dir) as reader:
        found = list(reader.rows(limit=rows))
    if as_json:
        _write(found, sys.stdout)
        return
    table = Table("seq", "schema", "key", "source time", "record")
    for seen in found:
        record = seen.row.record
        body = record.body.decode(errors="replace")[:BODY_CHARACTERS] if seen.intact else "[red]corrupt[/]"
        table.add_row(str(seen.row.number), record.schema, record.key, _time(record.time_ms), body)
    console().print(table)


@app.command()
def export(
    *,
    data_dir: DataDirOption,
    to: Annotated[Path | None, typer.Option(help="file to write; standard output without it")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="also acknowledged rows that are still kept")
    ] = False,
) -> None:
    """Write pending rows as JSON, one a line, oldest first; the outbox keeps them.

    Example: edge-agent buffer export --data-dir /var/lib/edge-agent --all --to rows.jsonl
    """
    with _reader(data_dir) as reader:
        rows = reader.rows(acknowledged=everything)
        if to is None:
            _write(rows, sys.stdout)
            return
        with to.open("w") as out:
            written = _write(rows, out)
    print(f"{written} rows in {to}")


def _reader(data_dir: Path) -> OutboxReader:
    return OutboxReader(data_dir / "outbox.db")


def _told(contents: Contents) -> dict[str, Any]:
    told = contents._asdict()
    oldest_ms, newest_ms = told.pop("oldest_ms"), told.pop("newest_ms")
    told["oldest"] = None if oldest_ms is None else _time(oldest_ms)
    told["newest"] = None if newest_ms is None else _time(newest_ms)
    told["oldest_age_s"] = None if oldest_ms is None else round(time.time() - oldest_ms / 1000, 3)
    return told


def _write(rows: Iterable[Seen], out: TextIO) -> int:
    written = 0
    for seen in rows:
        out.write(json.dumps(_line(seen)) + "\n")
        written += 1
    return written


def _line(seen: Seen) -> dict[str, Any]:
    """A row for a script; the record is null where it is not what was committed."""
    row = seen.row
    return {
        "store_id": row.store_id,
        "seq": row.number,
        "schema": row.record.schema,
        "key": row.record.key,
        "time": _time(row.record.time_ms),
        "acknowledged": None if seen.acked_ms is None else _time(seen.acked_ms),
        "record": json.loads(row.record.body) if seen.intact else None,
    }


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
