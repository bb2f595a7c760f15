"""`control-plane query`."""

import json
from itertools import islice
from typing import Annotated

import typer
from rich.table import Table

from control_plane.commands.options import DataDir, Json
from control_plane.layout import Layout
from control_plane.sinks.sql import Answer, asked
from shared.command_line import console

ROWS_SHOWN_MAX = 1_000  # of a table on a screen; --json prints all


def query(
    sql: Annotated[str, typer.Argument(help="one SELECT, in DuckDB's SQL")],
    data_dir: DataDir,
    as_json: Json = False,
) -> None:
    """Ask the lake in SQL. It answers questions only: nothing is written, no file is read but its own.

    Tables: telemetry, predictions, alerts, audit, checkpoints, site_status, gaps; `DESCRIBE telemetry`
    names the columns. With --json a line holds one row, times are in UTC.

    Example: control-plane query "SELECT site_id, count(*) FROM telemetry GROUP BY 1" --data-dir data
    """
    with asked(Layout(data_dir).lake, sql) as answer:
        if as_json:
            for row in answer.rows:
                print(json.dumps(dict(zip(answer.columns, row, strict=True)), default=str))
        else:
            _show(answer)


def _show(answer: Answer) -> None:
    table = Table(*answer.columns)
    for row in islice(answer.rows, ROWS_SHOWN_MAX):
        table.add_row(*("" if value is None else str(value) for value in row))
    console().print(table)
    if next(answer.rows, None) is not None:
        console().print(f"the first {ROWS_SHOWN_MAX} rows; --json prints all")
