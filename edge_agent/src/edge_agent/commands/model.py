"""`edge-agent model`."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from shared.command_line import console

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """The models this site runs."""


@app.command()
def status(
    data_dir: Annotated[Path, typer.Option(envvar="EDGE_DATA_DIR", help="of the agent")],
    trust_dir: Annotated[Path, typer.Option(envvar="EDGE_TRUST_DIR", help="the repositories' root.json")],
    as_json: Annotated[bool, typer.Option("--json", help="for a script")] = False,
) -> None:
    """Committed releases, verified again now; exit 1 when one does not verify.

    Example: edge-agent model status --data-dir /var/lib/edge-agent --trust-dir /etc/edge-agent/trust
    """
    from edge_agent.update import ModelSlots  # TUF: the other commands start without it

    releases, refused = ModelSlots(data_dir, trust_dir).committed()
    rows = [
        {
            "component_type": r.manifest.component_type,
            "release": r.manifest.folder,
            "sha256": r.sha256,
            "mode": r.assignment.mode,
            "rollout_id": r.assignment.rollout_id,
        }
        for r in releases
    ]
    if as_json:
        print(json.dumps({"committed": rows, "refused": [str(error) for error in refused]}))
    else:
        table = Table("component type", "release", "sha256", "mode", "roll-out")
        for row in rows:
            table.add_row(*row.values())
        console().print(table)
        for error in refused:
            console().print(f"[red]refused[/] {error}")
    raise typer.Exit(1 if refused else 0)
