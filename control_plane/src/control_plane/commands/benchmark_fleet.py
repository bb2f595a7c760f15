"""`control-plane benchmark fleet`."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from control_plane.commands.options import Json
from shared.command_line import console
from shared.errors import ConfigError
from shared.reactor_config import parse_fleet

if TYPE_CHECKING:
    from control_plane.training.fleet_trial import Row

CYCLE_MINUTES = (
    15.0  # what a simulated cycle stands for (docs/plant.md); polling it faster is a demonstration
)

# Of the table: heading and format of each figure of `Row`; JSON has the others too.
COLUMNS = {
    "rmse": ("RMSE", "{:.1f}"),
    "cone": ("in cone", "{:.2f}"),
    "at_half": ("at half", "{:.2f}"),
    "horizon": ("horizon", "{:.0f}"),
    "late": ("late", "{:.2f}"),
    "coverage": ("PICP", "{:.2f}"),
    "width": ("PINAW", "{:.2f}"),
    "worst_coverage": ("worst", "{:.2f}"),
    "lead": ("lead", "{:.0f}"),
    "early_per_month": ("early/mo", "{:.1f}"),
    "detected": ("found", "{:.2f}"),
    "delay": ("delay", "{:.0f}"),
    "false_per_month": ("false/mo", "{:.1f}"),
}
NOTES = (
    "RMSE, horizon, lead and delay are in cycles, the latter three medians over units; the rest are shares.",
    "horizon: from here on within 5 % of the life; late: by over 10 cycles; lead: true RUL at the warning.",
    "found: an alert within 96 cycles of the fault, by the anomaly score, the line's residual or a forest.",
)


def fleet(
    data: Annotated[Path, typer.Option(help="folder of TYPE.parquet or TYPE.csv of `edge-agent simulate`")],
    pictures: Annotated[Path | None, typer.Option(help="folder for the plots")] = None,
    window_cycles: Annotated[int, typer.Option(min=2, help="that network and trees look back")] = 120,
    pool_cycles: Annotated[int, typer.Option(min=1, help="whose mean is one step of the network")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="of the network")] = 20,
    beyond_weight: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="of the network's training windows far beyond the horizon")
    ] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="of the split and of every method")] = 0,
    cycle_minutes: Annotated[
        float, typer.Option(min=0.001, help="what a cycle stands for; rates are per 30 days of them")
    ] = CYCLE_MINUTES,
    as_json: Json = False,
) -> None:
    """The network against a linear fit and gradient boosting, on whole lives of a fleet's held-out units.

    Each file holds one component type, at least three units of each fault type, at most one fault a unit.
    With --json the last line is JSON.

    Example: python -m bench.fleet_histories .bench/fleet &&
    control-plane benchmark fleet --data .bench/fleet --pictures docs/pictures
    """
    from control_plane.training.fit import TrainingConfig
    from control_plane.training.fleet_trial import (
        hold_trial,
        load_subjects,
        pooled,
    )  # torch: seconds to import

    config = TrainingConfig(seed=seed, epochs=epochs, patience=epochs, beyond_weight=beyond_weight)
    rows, calls = [], {}
    for path in _tables(data):
        kind = path.stem
        [component] = parse_fleet({"S": {"R": {"c": {"type": kind}}}}, str(path)).components().values()
        spec, settings = pooled(kind, tuple(component.tags), config, window_cycles, pool_cycles)
        subjects = load_subjects(path, component.tags)
        found, calls[kind] = hold_trial(kind, subjects, spec, settings, cycle_minutes, print)
        rows += found
    if pictures is not None:
        _draw(pictures, rows, calls)
    _show(rows, cycle_minutes)
    if as_json:
        print(json.dumps({"benchmark": "fleet", "rows": [_plain(row) for row in rows]}))


def _tables(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.glob("*") if path.suffix in (".parquet", ".csv"))
    if not found:
        raise ConfigError(
            str(folder), ["holds no TYPE.parquet or TYPE.csv, for example coolant_pump.parquet"]
        )
    return found


def _draw(folder: Path, rows: "list[Row]", calls: dict[str, Any]) -> None:
    from control_plane.training.fleet_plots import plot_cones, plot_delays, plot_horizons

    folder.mkdir(parents=True, exist_ok=True)
    for kind, by_method in calls.items():
        plot_cones(folder / f"fleet-cone-{kind}.png", kind, by_method)
    plot_horizons(folder / "fleet-horizon.png", rows)
    plot_delays(folder / "fleet-delay.png", calls)


def _show(rows: "list[Row]", cycle_minutes: float) -> None:
    headings = ("component", "fault", "method", "units", *(heading for heading, _ in COLUMNS.values()))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=True, justify="left" if heading in headings[:3] else "right")
    for row in rows:
        first = row.method == "network"
        if first:
            table.add_section()
        figures = [_figure(getattr(row, name), form) for name, (_, form) in COLUMNS.items()]
        names = (row.component_type, row.fault) if first else ("", "")
        table.add_row(*names, row.method, str(row.units), *figures)
    console().print(table)
    for line in (*NOTES, f"A month is 30 days of cycles of {cycle_minutes:g} minutes."):
        console().print(line, soft_wrap=True)


def _figure(value: float, form: str) -> str:
    if math.isnan(value):
        return "-"
    return form.format(value) if math.isfinite(value) else "none"


def _plain(row: "Row") -> dict[str, Any]:
    """Figures as JSON has them: null where there is none."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row._asdict().items()
    }
