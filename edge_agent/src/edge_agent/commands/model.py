"""`edge-agent model`."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from edge_agent.commands.alarm import OperatorOption, ReasonOption
from edge_agent.commands.buffer import DataDirOption
from edge_agent.commands.check import JsonOption
from shared.command_line import console
from shared.config_errors import describe
from shared.errors import ConfigError, Rejected
from shared.schemas import utc_now

if TYPE_CHECKING:
    from edge_agent.update import ImportTray

SHA256_SHOWN = 12  # characters in a table; --json has all
LOOK_S = 0.2  # between two looks for the agent's answer

app = typer.Typer(no_args_is_help=True)
TrustDirOption = Annotated[
    Path | None,
    typer.Option(
        envvar="EDGE_TRUST_DIR", help="the repositories' root.json; DATA_DIR/trust, where `enroll` left them"
    ),
]
COLUMNS = ("component_type", "slot", "release", "sha256", "mode", "rollout_id", "generation", "problem")


@app.callback()
def _group() -> None:
    """The models this site runs, tries, and can go back to; and whether they may change."""


@app.command()
def status(*, data_dir: DataDirOption, trust_dir: TrustDirOption = None, as_json: JsonOption = False) -> None:
    """Committed releases, verified again now; exit 1 when one does not verify.

    Example: edge-agent model status --data-dir /var/lib/edge-agent
    """
    from edge_agent.update import ModelSlots  # TUF: the other commands start without it

    releases, refused = ModelSlots(data_dir, trust_dir or data_dir / "trust").committed()
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


@app.command(name="list")
def list_(*, data_dir: DataDirOption, trust_dir: TrustDirOption = None, as_json: JsonOption = False) -> None:
    """Every slot (committed, provisional, previous), the newest answer for each type, and the hold.

    Example: edge-agent model list --data-dir /var/lib/edge-agent
    """
    from edge_agent.update import HoldFile, ModelSlots

    slots = ModelSlots(data_dir, trust_dir or data_dir / "trust")
    rows = [_row(stored) for stored in slots.all()]
    answers = [answer._asdict() for answer in slots.answers()[0]]
    try:
        hold = HoldFile(data_dir).read(utc_now())
    except ValueError as error:
        raise ConfigError("model-hold.json", [str(error)]) from error
    if as_json:
        print(json.dumps({"slots": rows, "answers": answers, "held": hold.text if hold else None}))
        return
    table = Table("component type", "slot", "release", "sha256", "mode", "roll-out", "generation", "problem")
    for row in rows:
        shown = row | {"sha256": row["sha256"][:SHA256_SHOWN]}
        table.add_row(*(escape(str(shown[name])) for name in COLUMNS))
    console().print(table)
    for answer in answers:
        where = f"{answer['component_type']} generation {answer['generation']}"
        console().print(f"{where}: {answer['state']} {escape(answer['detail'])}", soft_wrap=True)
    print(f"held {hold.text}" if hold else "not held")


def _row(stored: Any) -> dict[str, Any]:
    release = stored.release
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row |= {
        "component_type": stored.component_type,
        "slot": stored.slot,
        "problem": str(stored.problem or ""),
    }
    if release:
        told = release.assignment
        row |= {"release": release.manifest.folder, "sha256": release.sha256, "mode": told.mode}
        row |= {"rollout_id": told.rollout_id, "generation": told.generation}
    return row


@app.command()
def hold(
    *,
    data_dir: DataDirOption,
    until: Annotated[str, typer.Option(help="UTC, as 2026-12-24T06:00; at most 31 days ahead")],
    operator: OperatorOption,
    reason: ReasonOption,
) -> None:
    """Keep this site's models as they are: nothing is committed until then. A roll-back still happens.

    Example: edge-agent model hold --data-dir /var/lib/edge-agent --until 2026-12-24T06:00
    --by "A. Reyes" --reason "outage 14, work order 4711"
    """
    from edge_agent.update import Hold, HoldFile

    try:
        time_ = datetime.fromisoformat(until)
        wanted = Hold(
            until=time_ if time_.tzinfo else time_.replace(tzinfo=UTC), operator=operator, reason=reason
        )
    except ValidationError as error:
        problems = [problem.replace("(top level)", "--until") for problem in describe(error)]
        raise ConfigError("edge-agent model hold", problems) from error
    except ValueError as error:
        raise ConfigError("--until", [f"found {until!r}; expected a UTC time as 2026-12-24T06:00"]) from error
    HoldFile(data_dir).write(wanted)
    print(f"held {wanted.text}; the agent takes it up within a second")


@app.command()
def unhold(*, data_dir: DataDirOption) -> None:
    """End a hold before its time: what was held comes in with the agent's next look.

    Example: edge-agent model unhold --data-dir /var/lib/edge-agent
    """
    from edge_agent.update import HoldFile

    HoldFile(data_dir).remove()
    print("not held")


@app.command(name="import")
def import_(
    folder: Annotated[
        Path, typer.Argument(help="with image/ and director/SITE/ in it, as the centre has them")
    ],
    *,
    data_dir: DataDirOption,
    site: Annotated[str, typer.Option(envvar="EDGE_SITE", help="this site's id")],
    wait_s: Annotated[float, typer.Option(min=0, max=600, help="for the agent's answer")] = 120.0,
    as_json: JsonOption = False,
) -> None:
    """Take in releases that a courier brought: the running agent verifies them exactly as from the network.

    Exit 1 when nothing could be believed or a release was refused.

    Example: edge-agent model import /media/stick/repository --data-dir /var/lib/edge-agent --site TX01
    """
    from edge_agent.update import ImportTray

    tray = ImportTray(data_dir)
    try:
        count = tray.lay_in(folder, site)
    except (OSError, Rejected) as error:
        raise ConfigError(str(folder), [str(error)]) from error
    said = _answer(tray, wait_s)
    if as_json:
        print(json.dumps(said))
    else:
        print(f"{count} files handed to the agent")
        for name, text in said.items() or {"nothing": "the director names no release for this site"}.items():
            print(f"{name}: {text}")
    refused = "problem" in said or any(text.startswith("refused") for text in said.values())
    raise typer.Exit(1 if refused else 0)


def _answer(tray: "ImportTray", wait_s: float) -> dict[str, str]:
    """What the agent says; ConfigError and nothing left behind when none answers."""
    ends = time.monotonic() + wait_s
    while (said := tray.answer()) is None:
        if time.monotonic() > ends:
            tray.withdraw()
            raise ConfigError(
                "edge-agent model import", [f"no agent answered for {wait_s:g} s; is it running?"]
            )
        time.sleep(LOOK_S)
    return said
