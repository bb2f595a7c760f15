"""`control-plane train`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from control_plane.commands.options import ExperimentOption, FleetOption, TrackingUri, component_of
from control_plane.registry.mlflow_client import EXPERIMENT, DatasetRef, RunRecord
from control_plane.registry.mlflow_registry import MANIFEST_FILE, TORCHSCRIPT_FILE, ModelRegistry
from control_plane.registry.mlmodel import MODEL_FILE

PICTURE = "training.png"
CONFIG_FILE = "config.yaml"


def train(
    component_type: Annotated[str, typer.Option(help="for example coolant_pump")],
    data: Annotated[
        Path, typer.Option(help="table of `edge-agent simulate`, a built data set, or a folder of recordings")
    ],
    output: Annotated[Path, typer.Option(help="folder for model.onnx, manifest.json and a picture")],
    tracking_uri: TrackingUri,
    experiment: ExperimentOption = EXPERIMENT,
    fleet: FleetOption = None,
    config: Annotated[Path | None, typer.Option(help="YAML with the settings of a training")] = None,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    rows_per_file: Annotated[
        int | None, typer.Option(min=20, help="recordings: the first rows of each file, as normal")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the manifest as JSON")] = False,
) -> None:
    """Train, measure on units held out, export to ONNX, register with MLflow.

    The new version is `challenger`; the first of its name is `champion` too, and stays so until
    `control-plane compare --promote` says otherwise.

    Example: control-plane train --component-type coolant_pump --data pumps.parquet --output release
    --tracking-uri sqlite:///data/mlflow.db --config config.yaml
    """
    from control_plane.training.settings import read_settings  # torch: seconds to import
    from control_plane.training.workflow import train as run

    settings = read_settings(config, {"epochs": epochs, "seed": seed})
    component = component_of(component_type, fleet)
    output.mkdir(parents=True, exist_ok=True)

    def say(text: str) -> None:
        if not as_json:
            print(text, flush=True)

    trained = run(
        component_type, component.tags, data, settings.training, rows_per_file, output / PICTURE, say,
        settings.window_cycles, component.operating,
    )  # fmt: skip
    say("registering with MLflow")
    found = DatasetRef(str(data), trained.manifest.training_data_version, trained.data_version)
    record = RunRecord(
        component_type,
        trained.parameters,
        curves=_curves(trained.fitted.losses),
        dataset=found,
        artifacts=[output / PICTURE],
        files={TORCHSCRIPT_FILE: trained.torchscript, CONFIG_FILE: settings.as_yaml().encode()},
        tags={"kind": "training"},
    )
    manifest = ModelRegistry(tracking_uri, experiment).log_model(trained.model, trained.manifest, record)
    (output / MODEL_FILE).write_bytes(trained.model)
    (output / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2))
    if as_json:
        print(json.dumps(manifest.model_dump(mode="json")))
    say(f"registered {manifest.name}/{manifest.version}, sha256 {manifest.sha256}")


def _curves(losses: list[tuple[float, float]]) -> dict[str, list[float]]:
    """By epoch, the loss of training and of held-out units."""
    return {
        "loss": [train for train, _ in losses],
        "loss_held_out": [held for _, held in losses],
    }
