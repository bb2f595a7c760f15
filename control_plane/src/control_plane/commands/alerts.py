"""`control-plane alerts`."""

import json
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from control_plane.alerts.models import AlertStatus, AlertView
from control_plane.api.alert_desk import AlertDesk
from control_plane.commands.options import DataDir, Json, me
from control_plane.layout import Layout
from shared.command_line import console
from shared.schemas import Severity
from shared.schemas.alert import OPERATOR_CHARS_MAX, REASON_CHARS_MAX

app = typer.Typer(no_args_is_help=True)
ID_DIGITS = 8  # enough to tell alerts apart by eye; acknowledge takes the beginning of an id


@app.command("list")
def list_(
    data_dir: DataDir,
    cleared: Annotated[bool, typer.Option("--cleared", help="those that are over too")] = False,
    as_json: Json = False,
) -> None:
    """Alerts that stand, wait to be acknowledged or are shelved, newest first.

    Example: control-plane alerts list --data-dir data
    """
    found = [
        alert
        for alert in AlertDesk(Layout(data_dir)).views()
        if cleared or alert.status is not AlertStatus.CLEARED
    ]
    if as_json:
        print(json.dumps([alert.model_dump(mode="json") for alert in found]))
        return
    if not found:
        print("no alerts" if cleared else "no alert needs anybody")
        return
    table = Table("alert", "component", "severity", "state", "raised (UTC)", "acknowledged by", "what")
    for alert in found:
        table.add_row(*_cells(alert))
    console().print(table)


@app.command()
def acknowledge(
    alert: Annotated[list[str], typer.Argument(help="alert ids, or their beginnings, as `list` shows them")],
    data_dir: DataDir,
    by: Annotated[
        str, typer.Option(envvar="PM_USER", default_factory=me, help="who takes it on, for the record")
    ],
    note: Annotated[str, typer.Option(help="what is being done about it")] = "",
    as_json: Json = False,
) -> None:
    """Take alerts on, in your name: all of those given, or none.

    Example: control-plane alerts acknowledge 1f0c52aa --note "crew is on its way" --data-dir data
    """
    if not by.strip() or len(by) > OPERATOR_CHARS_MAX:
        raise typer.BadParameter(f"expected 1 to {OPERATOR_CHARS_MAX} characters", param_hint="--by")
    if len(note) > REASON_CHARS_MAX:
        raise typer.BadParameter(f"expected at most {REASON_CHARS_MAX} characters", param_hint="--note")
    desk = AlertDesk(Layout(data_dir))
    views = desk.views()
    done = desk.acknowledge([_full_id(beginning, views) for beginning in alert], by.strip(), note.strip())
    if as_json:
        print(json.dumps([each.model_dump(mode="json") for each in done]))
        return
    for each in done:
        print(f"{each.alert_id}: {_words(each.status)}")


def _full_id(beginning: str, views: list[AlertView]) -> str:
    found = [view.alert_id for view in views if view.alert_id.startswith(beginning)]
    if beginning in found or not found:
        return beginning
    if len(found) > 1:
        raise typer.BadParameter(f"{beginning} begins {len(found)} alerts; give more of the id")
    return found[0]


def _cells(alert: AlertView) -> list[str]:
    by = alert.acknowledgement.who if alert.acknowledgement and alert.acknowledged else ""
    colour = "red" if alert.severity is Severity.ALARM else "yellow"
    return [
        alert.alert_id[:ID_DIGITS],
        f"{alert.site_id}/{alert.reactor_id}/{alert.component}",
        f"[{colour}]{alert.severity}[/]",
        _words(alert.status),
        f"{alert.raised_at:%Y-%m-%d %H:%M:%S}" if alert.raised_at else "",
        escape(by) or ("nobody yet" if alert.to_acknowledge else ""),
        escape(alert.message),
    ]


def _words(status: AlertStatus) -> str:
    return status.replace("_", ", ")
