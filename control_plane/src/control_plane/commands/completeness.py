"""`control-plane completeness`."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from control_plane.commands.options import DataDir, Json
from control_plane.ingest.completeness import Account, read_accounts
from control_plane.layout import Layout
from shared.command_line import console

SPANS_SHOWN_MAX = 20


def completeness(
    data_dir: DataDir,
    site: Annotated[str | None, typer.Option(help="one site only")] = None,
    as_json: Json = False,
) -> None:
    """What each site produced, what arrived, which gaps are explained; exit 1 when any row is unexplained.

    A row that has not arrived yet may still be at the site, in Kafka or in a bundle. It is unexplained
    once the site will not send it again, ingest has read all that Kafka held since, and no gap names it.
    A missed poll made no row: it was due while the one before ran over, or the machine was busy.

    Example: control-plane completeness --data-dir data --site TX01
    """
    accounts = read_accounts(Layout(data_dir).lake, site)
    if as_json:
        print(json.dumps([asdict(a) | {"complete": a.complete} for a in accounts]))
    else:
        _show(accounts)
    raise typer.Exit(0 if all(a.complete for a in accounts) else 1)


def _show(accounts: list[Account]) -> None:
    columns = (
        "site",
        "store",
        "produced",
        "arrived",
        "not arrived yet",
        "explained",
        "unexplained",
        "repeats dropped",
        "polls missed",
    )
    table = Table(*columns)
    for a in accounts:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(a.explained.items()))
        unexplained = f"[red]{a.unexplained}[/]" if a.unexplained else "0"
        numbers = (
            str(a.produced),
            str(a.arrived),
            str(a.not_yet),
            reasons or "0",
            unexplained,
            str(a.repeats),
            "not said" if a.polls_missed is None else str(a.polls_missed),
        )
        table.add_row(a.site_id, a.store_id, *numbers)
    console().print(table)
    for a in accounts:
        for first, last in a.unexplained_spans[:SPANS_SHOWN_MAX]:
            console().print(f"[red]unexplained[/] {a.site_id} {a.store_id}: rows {first} to {last}")
        if a.twice:
            console().print(f"[red]in the lake twice[/] {a.site_id} {a.store_id}: {a.twice} rows")
