"""`control-plane compare`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from control_plane.commands.options import ExperimentOption, FleetOption, Json, TrackingUri, tags_of
from control_plane.registry.mlflow_client import EXPERIMENT
from control_plane.registry.mlflow_registry import CHAMPION, ModelRegistry
from control_plane.training.compare import Compared, as_rows, differing, draw, metric_names, same_data
from shared.command_line import console
from shared.errors import ConfigError


def compare(
    models: Annotated[
        list[str], typer.Argument(help="models:/NAME/VERSION, models:/NAME@ALIAS or runs:/RUN_ID")
    ],
    tracking_uri: TrackingUri,
    experiment: ExperimentOption = EXPERIMENT,
    data: Annotated[
        Path | None, typer.Option(help="judge all of them on this data; left out: as each was measured")
    ] = None,
    fleet: FleetOption = None,
    plot: Annotated[Path | None, typer.Option(help="picture to draw, .png")] = None,
    promote: Annotated[
        str | None, typer.Option(help=f"one of the models: make it {CHAMPION} of its name")
    ] = None,
    as_json: Json = False,
) -> None:
    """Versions or runs in one table: metrics, and the settings in which they differ.

    Nothing but --promote moves the alias `champion`. It says what a person prefers; what a site may run
    is decided by `control-plane release`.

    Example: control-plane compare models:/coolant_pump@champion models:/coolant_pump@challenger
    --data other_pumps.parquet --promote models:/coolant_pump@challenger
    """
    if promote is not None and promote not in models:
        raise ConfigError("--promote", [f"found {promote!r}; promote one of {', '.join(models)}"])
    registry = ModelRegistry(tracking_uri, experiment)
    found = [_compared(registry, uri, data, fleet) for uri in models]
    if plot is not None:
        draw(found, plot)
    place = registry.locate(promote) if promote is not None else None
    if place is not None:
        registry.promote(place)
    if as_json:
        print(
            json.dumps(
                {"models": as_rows(found), CHAMPION: f"{place.name}/{place.version}" if place else None}
            )
        )
        return
    _show(found, judged_on=data)
    if place is not None:
        print(f"{CHAMPION} of {place.name} is now version {place.version}")


def _compared(registry: ModelRegistry, uri: str, data: Path | None, fleet: Path | None) -> Compared:
    place = registry.locate(uri)
    summary = registry.summary(place)
    model = f"{place.name}/{place.version}" if place.name else summary.name
    metrics = summary.metrics if data is None else _measured(registry, uri, data, fleet)
    return Compared(uri, model, place.aliases, summary.parameters, metrics)


def _measured(registry: ModelRegistry, uri: str, data: Path, fleet: Path | None) -> dict[str, float]:
    from control_plane.training.validate import measure

    model, manifest = registry.load_model(uri)
    return measure(model, manifest, data, tags_of(manifest.component_type, fleet))


def _show(models: Sequence[Compared], judged_on: Path | None) -> None:
    table = Table("", *(model.uri for model in models))
    table.add_row("model", *(model.model for model in models))
    table.add_row("aliases", *(", ".join(model.aliases) for model in models))
    for name in metric_names(models):
        table.add_row(name, *(_number(model.metrics.get(name)) for model in models), style="bold")
    for name in differing(models):
        table.add_row(name, *(model.parameters.get(name, "") for model in models), style="dim")
    console().print(table)
    if judged_on is None and not same_data(models):
        print("they were measured on different data; --data FILE judges all of them on the same")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
