"""`control-plane rollout`."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from control_plane.api.rollout_view import ring_rows, site_rows
from control_plane.commands.options import DataDir, Json, me, passphrase
from control_plane.layout import Layout
from control_plane.release.controller import Controller, controller_lock
from control_plane.release.director_keys import DirectorKeys
from control_plane.release.rollout import Rollouts
from control_plane.release.rollout_plan import Plan, load_plan
from control_plane.release.rollout_requests import Requests
from shared.command_line import console
from shared.errors import Retryable
from shared.schemas import utc_now

app = typer.Typer(no_args_is_help=True)
_COLOURS = {
    "committed": "green", "completed": "green", "well": "green", "pass": "green", "back": "green",
    "refused": "red", "rolled_back": "red", "fail": "red", "failed": "red", "not_back": "red",
}  # fmt: skip

RolloutId = Annotated[str, typer.Argument(help="as `rollout start` prints it")]
By = Annotated[str, typer.Option(envvar="PM_USER", default_factory=me, help="who asks, for the record")]
Because = Annotated[str, typer.Option(help="why, for the record")]


@app.command()
def start(
    releases: Annotated[list[str], typer.Argument(help="NAME/VERSION of published releases")],
    data_dir: DataDir,
    by: By,
    site: Annotated[
        list[str] | None,
        typer.Option(help="may be repeated; without it all, and those enrolled later"),
    ] = None,
    plan: Annotated[Path | None, typer.Option(help="YAML file: canaries, rings, soak time, gates")] = None,
    keys: Annotated[
        Path | None, typer.Option(help="folder with director-<site>.pem, where no `serve` carries it on")
    ] = None,
    as_json: Json = False,
) -> None:
    """Roll releases out: canary sites first, then ring after ring; prints each roll-out's id.

    Example: control-plane rollout start coolant_pump/2 --plan plan.yaml --data-dir data

    Example: control-plane rollout start coolant_pump/1 --site TX01 --site ID01 --keys keys --data-dir data
    """
    layout, chosen = Layout(data_dir), load_plan(plan) if plan else Plan()
    sites = site or _known_sites(layout)
    requests = _requests(data_dir, by)
    started = [requests.start(release, sites, chosen, whole_fleet=not site) for release in releases]
    if keys is not None:
        with suppress(Retryable), controller_lock(layout.repository):  # who holds it carries it on
            directors = DirectorKeys(keys, passphrase(keys))
            Controller(layout.repository, layout.store(), directors, layout.centre_log()).tick(utc_now())
    print(json.dumps(started) if as_json else "\n".join(started))


@app.command()
def pause(rollout_id: RolloutId, data_dir: DataDir, by: By, because: Because = "") -> None:
    """Hold every step forward; sites that were told already go on, and the way back stays open.

    Example: control-plane rollout pause coolant_pump-2-1a2b3c4d --because "outage at ID01" --data-dir data
    """
    _requests(data_dir, by).pause(rollout_id, because)
    print(f"{rollout_id}: paused")


@app.command()
def resume(rollout_id: RolloutId, data_dir: DataDir, by: By, because: Because = "") -> None:
    """Go on after a pause.

    Example: control-plane rollout resume coolant_pump-2-1a2b3c4d --data-dir data
    """
    _requests(data_dir, by).resume(rollout_id, because)
    print(f"{rollout_id}: goes on")


@app.command()
def abort(rollout_id: RolloutId, data_dir: DataDir, by: By, because: Because = "") -> None:
    """Stop, and take every site that was told back to what it ran before; also once completed.

    Example: control-plane rollout abort coolant_pump-2-1a2b3c4d --because "wrong plant data" --data-dir data
    """
    _requests(data_dir, by).abort(rollout_id, because)
    print(f"{rollout_id}: goes back")


@app.command()
def promote(rollout_id: RolloutId, data_dir: DataDir, by: By, because: Because = "") -> None:
    """Let the newest ring pass although its gate is inconclusive. A gate that fails is nobody's to pass.

    Example: control-plane rollout promote coolant_pump-2-1a2b3c4d --because "ID01 is down" --data-dir data
    """
    _requests(data_dir, by).promote(rollout_id, because)
    print(f"{rollout_id}: the ring passes")


@app.command()
def status(data_dir: DataDir, as_json: Json = False) -> None:
    """Where each roll-out stands: its rings and their gates, then site by site.

    Example: control-plane rollout status --data-dir data
    """
    now = utc_now()
    found = Rollouts(line.event for line in Layout(data_dir).store().events())
    rows = [row for rollout in found for row in site_rows(rollout, now)]
    if as_json:
        print(json.dumps(rows))
        return
    gates = Table("roll-out", "release", "state", "ring", "gate", "why")
    for rollout in found:
        for row in ring_rows(rollout, now):
            why = rollout.stopping or row["why"] if row["gate"] != "pass" else row["why"]
            gates.add_row(
                rollout.rollout_id, rollout.release, _coloured(rollout.state), row["name"],
                _coloured(row["gate"]), escape(why),
            )  # fmt: skip
    table = Table("roll-out", "site", "ring", "state", "for the gate", "detail", "since (UTC)")
    for row in rows:
        table.add_row(
            row["rollout_id"], row["site"], row["ring"], _coloured(row["state"]), escape(row["why"]),
            escape(row["detail"]), row["at"],
        )  # fmt: skip
    console().print(gates, table)


def _known_sites(layout: Layout) -> list[str]:
    return sorted(
        path.parent.parent.name for path in layout.repository.glob("director/*/metadata/1.root.json")
    )


def _requests(data_dir: Path, by: str) -> Requests:
    layout = Layout(data_dir)
    return Requests(layout.repository, layout.store(), layout.centre_log(), by)


def _coloured(word: str) -> str:
    return f"[{_COLOURS.get(word, 'yellow')}]{word}[/]"
