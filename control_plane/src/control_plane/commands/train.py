"""`control-plane train`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from control_plane.registry.mlflow_registry import MANIFEST_FILE, MODEL_FILE, ModelRegistry
from shared.config_defaults import builtin_types
from shared.errors import ConfigError
from shared.reactor_config import FleetConfig, Tag, load_fleet, parse_fleet

if TYPE_CHECKING:
    from control_plane.training.fit import TrainingConfig

PICTURE = "training.png"


def train(
    component_type: Annotated[str, typer.Option(help="for example coolant_pump")],
    data: Annotated[Path, typer.Option(help="table of `edge-agent simulate`, or a folder of recordings")],
    output: Annotated[Path, typer.Option(help="folder for model.onnx, manifest.json and a picture")],
    tracking_uri: Annotated[
        str, typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow, for example sqlite:///data/mlflow.db")
    ],
    fleet: Annotated[Path | None, typer.Option(help="reactor_config.yaml with types of your own")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML with the settings of a training")] = None,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    rows_per_file: Annotated[
        int | None, typer.Option(min=20, help="recordings: the first rows of each file, as normal")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the manifest as JSON")] = False,
) -> None:
    """Train, measure on units held out, export to ONNX, register with MLflow.

    Example: control-plane train --component-type coolant_pump --data pumps.parquet --output release
    --tracking-uri sqlite:///data/mlflow.db
    """
    from control_plane.training.workflow import train as run  # torch: seconds to import

    settings = _settings(config, {"epochs": epochs, "seed": seed})
    output.mkdir(parents=True, exist_ok=True)

    def say(text: str) -> None:
        if not as_json:
            print(text, flush=True)

    tags = _tags(component_type, load_fleet(fleet) if fleet else None)
    trained = run(component_type, tags, data, settings, rows_per_file, output / PICTURE, say)
    say("registering with MLflow")
    manifest = ModelRegistry(tracking_uri).log_model(
        trained.model, trained.manifest, trained.parameters, trained.fitted.losses, [output / PICTURE]
    )
    (output / MODEL_FILE).write_bytes(trained.model)
    (output / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2))
    if as_json:
        print(json.dumps(manifest.model_dump(mode="json")))
    say(f"registered {manifest.name}/{manifest.version}, sha256 {manifest.sha256}")


def _settings(path: Path | None, options: dict[str, int | None]) -> "TrainingConfig":
    from control_plane.training.fit import TrainingConfig

    chosen = (yaml.safe_load(path.read_text()) or {}) if path else {}
    chosen |= {name: value for name, value in options.items() if value is not None}
    try:
        return TrainingConfig(**chosen)
    except TypeError as error:
        known = ", ".join(TrainingConfig.__dataclass_fields__)
        raise ConfigError(str(path), [f"{error}; the settings are {known}"]) from error


def _tags(component_type: str, fleet: FleetConfig | None) -> dict[str, Tag]:
    """The type's tags: of the first component of that type in the fleet, else the built-in ones."""
    if fleet is None and component_type in builtin_types():
        fleet = parse_fleet({"S": {"R": {"c": {"type": component_type}}}}, "--component-type")
    for component in (fleet.components() if fleet else {}).values():
        if component.type == component_type:
            return component.tags
    known = ", ".join(builtin_types())
    raise ConfigError("--component-type", [f"found {component_type!r}; the built-in types are {known}"])
