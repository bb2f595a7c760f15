"""`control-plane maintain`."""

import json

from rich.table import Table

from control_plane.commands.options import DataDir, Json
from control_plane.layout import Layout
from control_plane.sinks.lake_upkeep import maintain as upkeep
from shared.command_line import console


def maintain(data_dir: DataDir, as_json: Json = False) -> None:
    """Join the lake's small files and remove those that were replaced over an hour ago.

    Ingest does this by itself every ten minutes. It is safe beside a running ingest and running queries.

    Example: control-plane maintain --data-dir data
    """
    rows, shown = [], console()
    for each in upkeep(Layout(data_dir).lake):
        rows.append(each)
        if not as_json and shown.is_terminal:
            shown.print(f"{each.table} is done")
    if as_json:
        print(json.dumps([each._asdict() for each in rows]))
        return
    table = Table("table", "files before", "files now", "replaced files removed")
    for each in rows:
        table.add_row(each.table, str(each.files_before), str(each.files_after), str(each.removed))
    shown.print(table)
