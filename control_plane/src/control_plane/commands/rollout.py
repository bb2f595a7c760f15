"""`control-plane rollout`."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from control_plane.commands.options import DataDir, Json, passphrase
from control_plane.layout import Layout
from control_plane.release.controller import start_rollout
from control_plane.release.keys import load_signer
from control_plane.release.rollout import states
from shared.command_line import console

app = typer.Typer(no_args_is_help=True)
_COLOURS = {"committed": "green", "refused": "red", "commanded": "yellow"}


@app.command()
def start(
    releases: Annotated[list[str], typer.Argument(help="NAME/VERSION of published releases")],
    site: Annotated[list[str], typer.Option(help="may be repeated")],
    keys: Annotated[Path, typer.Option(help="folder with director-<site>.pem")],
    data_dir: DataDir,
) -> None:
    """Assign releases to sites and tell them; prints each roll-out's id.

    Example: control-plane rollout start coolant_pump/1 --site TX01 --site ID01 --keys keys --data-dir data
    """
    layout, word = Layout(data_dir), passphrase(keys)
    signers = {name: load_signer(keys / f"director-{name}.pem", word) for name in site}
    for release in releases:
        print(start_rollout(layout.repository, layout.store(), release, site, signers))


@app.command()
def status(data_dir: DataDir, as_json: Json = False) -> None:
    """Where each roll-out stands, by site.

    Example: control-plane rollout status --data-dir data
    """
    found = states(line.event for line in Layout(data_dir).store().events())
    rows = [
        {
            "rollout_id": state.rollout_id,
            "release": state.release,
            "site": site,
            "state": event.kind.value,
            "detail": event.detail,
            "at": event.at.isoformat(timespec="seconds"),
        }
        for state in found.values()
        for site, event in state.sites.items()
    ]
    if as_json:
        print(json.dumps(rows))
        return
    table = Table("roll-out", "release", "site", "state", "detail", "since (UTC)")
    for row in rows:
        colour = _COLOURS[row["state"]]
        table.add_row(
            row["rollout_id"], row["release"], row["site"], f"[{colour}]{row['state']}[/]", row["detail"],
            row["at"],
        )  # fmt: skip
    console().print(table)
