"""`control-plane audit query|replay|export`: what stands on the record."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from control_plane.audit.query import Question, Row, ask, write
from control_plane.commands.options import DataDir, Json
from control_plane.commands.steps import Steps
from control_plane.layout import Layout
from shared.command_line import console
from shared.errors import ConfigError

LIMIT_MAX = 10_000
SAMPLE_MAX = 1_000_000

Site = Annotated[str | None, typer.Option(help="predictions and events of this site")]


def query(
    data_dir: DataDir,
    site: Site = None,
    component: Annotated[str | None, typer.Option(help="for example coolant_pump")] = None,
    since: Annotated[str | None, typer.Option(help="RFC 3339, UTC without a zone; included")] = None,
    until: Annotated[str | None, typer.Option(help="as --since; not included")] = None,
    model_version: Annotated[str | None, typer.Option(help="7 or NAME/7")] = None,
    flag: Annotated[str | None, typer.Option(help="anomaly, out_of_distribution, sensor_stuck:TAG")] = None,
    event: Annotated[str | None, typer.Option(help="prediction, model_committed, audit_failure")] = None,
    prediction: Annotated[str | None, typer.Option(help="a prediction's id")] = None,
    log: Annotated[str | None, typer.Option(help="a site's log, or `inference` for the centre's own")] = None,
    mode: Annotated[str | None, typer.Option(help="active, shadow, or exploration: the viewer's")] = None,
    to: Annotated[
        Path | None, typer.Option(help="write all that fits, .parquet or .sqlite, and print nothing")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX)] = 20,
    as_json: Json = False,
) -> None:
    """The newest entries of `audit_log`: of every site's log and of the centre's inference.

    Example: control-plane audit query --data-dir data --site TX01 --flag anomaly --since 2026-11-01
    """
    begin, end = _time("--since", since), _time("--until", until)
    question = Question(log, site, component, begin, end, model_version, flag, event, prediction, mode)
    layout = Layout(data_dir)
    if to is not None:
        write(ask(layout, question), to)
        return
    rows = ask(layout, question, limit)
    if as_json:
        print(json.dumps([json.loads(row["body"]) for row in rows]))
    else:
        _show(rows)


def replay(
    data_dir: DataDir,
    prediction_id: Annotated[str | None, typer.Argument(help="as a prediction's record names it")] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, max=SAMPLE_MAX, help="so many, drawn at random, in its place")
    ] = None,
    seed: Annotated[int, typer.Option(help="of --sample: the same record and seed, the same draw")] = 1,
    site: Annotated[str | None, typer.Option(help="of --sample: only this site's")] = None,
    tracking_uri: Annotated[
        str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="default: mlflow.db in --data-dir")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute predictions again from their records: bit-exact, within tolerance, or different; exit 1
    when one is different or cannot be computed.

    Example: control-plane audit replay 3f0c... --data-dir data

    Example: control-plane audit replay --sample 1000 --seed 7 --data-dir data
    """
    from control_plane.audit.recorded import draw
    from control_plane.audit.replay_many import replay_many
    from control_plane.registry.mlflow_registry import ModelRegistry

    if (prediction_id is None) == (sample is None):
        raise ConfigError("audit replay", ["give the id of a prediction or --sample, one of the two"])
    layout = Layout(data_dir)
    registry = ModelRegistry(tracking_uri or layout.tracking_uri)
    ids = [prediction_id] if prediction_id else draw(layout, sample or 0, seed, site)
    with Steps("replaying", quiet=as_json) as steps:
        found = replay_many(layout, ids, registry.by_sha256, steps.say)
    if as_json and prediction_id and found.results:
        print(json.dumps(asdict(found.results[0]) | {"answer": found.results[0].answer}))
    elif as_json:
        print(json.dumps(found.summary()))
    else:
        print("\n".join(found.lines()))
    raise typer.Exit(0 if found.held else 1)


def export(
    data_dir: DataDir,
    site: Annotated[str, typer.Option(help="whose record")],
    to: Annotated[Path, typer.Option(help="a folder that is not there yet")],
    as_json: Json = False,
) -> None:
    """Write a site's record for an inspector: log, checkpoints, keys, proofs, tables, and report.html, which
    says what was checked and how to check it again; exit 1 when something does not hold.

    Example: control-plane audit export --site TX01 --to inspection-TX01 --data-dir data
    """
    from control_plane.audit.export import export as write_folder

    with Steps(f"exporting {site}", quiet=as_json) as steps:
        steps.say("copying and recomputing the log")
        made = write_folder(Layout(data_dir), site, to)
    entries, report = made.logs[-1].entries, to / "report.html"
    if as_json:
        found = {"entries": entries, "proofs": len(made.proofs), "verified": made.verified}
        print(json.dumps({"site": site, **found, "report": str(report)}))
    else:
        verdict = "everything that was checked holds" if made.verified else "SOMETHING DOES NOT HOLD"
        print(f"{entries} entries, {len(made.proofs)} proofs; {verdict}: open {report}")
    raise typer.Exit(0 if made.verified else 1)


def _time(name: str, given: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(given) if given is not None else None
    except ValueError as error:
        raise ConfigError(name, [f"found {given!r}; a time is written 2026-11-28T16:00:00Z"]) from error
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found


def _show(rows: list[Row]) -> None:
    table = Table("time (UTC)", "log", "entry", "event", "subject", "model", "RUL", "flags", "prediction")
    for row in rows:
        model = f"{row['model_name']}/{row['model_version']}" if row["model_name"] else ""
        model += f" ({row['mode']})" if row["mode"] not in (None, "active") else ""
        rul = row["rul_state"] or ""
        if row["predicted_rul"] is not None:
            rul = f"{row['predicted_rul']:.1f}"
        flags, told = ", ".join(row["flags"] or []), row["prediction_id"] or ""
        time = f"{row['timestamp']:%Y-%m-%d %H:%M:%S}"
        place = row["log"], str(row["index"]), row["event"], row["subject"]
        table.add_row(time, *place, model, rul, flags, told)
    console().print(table)
