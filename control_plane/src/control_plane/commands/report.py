"""`control-plane report`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from control_plane.commands.options import DataDir
from control_plane.commands.steps import Steps
from control_plane.layout import Layout
from shared.errors import ConfigError, Rejected
from shared.reactor_config import load_fleet
from shared.schemas import ComponentId, utc_now


def report(
    component: Annotated[str, typer.Argument(help="SITE/REACTOR/COMPONENT")],
    data_dir: DataDir,
    to: Annotated[Path, typer.Option(help="the HTML file to write; one that is there is replaced")],
    config: Annotated[Path, typer.Option(envvar="PM_CONFIG", help="the fleet")] = Path("reactor_config.yaml"),
) -> None:
    """Write a component's report: RUL, alarms, sensors, model, completeness and audit proof on one page of
    HTML that opens and prints without a server.

    Example: control-plane report TX01/R1/coolant_pump --data-dir data --to coolant_pump.html
    """
    from control_plane.report.facts import gather
    from control_plane.report.page import page

    try:
        place = ComponentId.from_key(component)
    except ValueError as error:
        raise Rejected(f"found {component!r}; expected SITE/REACTOR/COMPONENT") from error
    options = ["--data-dir", str(data_dir), "--to", str(to), "--config", str(config)]
    with Steps(f"report of {place.key}", quiet=False) as steps:
        facts = gather(Layout(data_dir), load_fleet(config), place, utc_now(), steps.say)
    text = page(facts, shlex.join(["control-plane", "report", place.key, *options]))
    try:
        to.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError("--to", [f"{to} cannot be written: {error.strerror}"]) from error
    print(f"{to}: {len(text) / 1024:.0f} KiB; open it in a browser")
