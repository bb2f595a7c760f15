"""`control-plane validate`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from control_plane.commands.options import ExperimentOption, FleetOption, Json, ModelUri, TrackingUri, tags_of
from control_plane.registry.mlflow_client import EXPERIMENT, DatasetRef, RunRecord
from control_plane.registry.mlflow_registry import TORCHSCRIPT_FILE, ModelRegistry


def validate(
    model_uri: ModelUri,
    data: Annotated[Path, typer.Option(help="table, built data set or folder of recordings it never saw")],
    tracking_uri: TrackingUri,
    output: Annotated[Path, typer.Option(help="folder of the report: pictures and report.json")] = Path(
        "validation"
    ),
    experiment: ExperimentOption = EXPERIMENT,
    fleet: FleetOption = None,
    rows_per_file: Annotated[
        int | None, typer.Option(min=20, help="recordings: the first rows of each")
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge a model on other data: MAE, RMSE, R2, residuals, trajectories, importance of each tag.

    Importance is how many cycles a tag moves the RUL from what a normal one would give, over all units
    (integrated gradients); a release without references has none.
    The report is logged to MLflow as a run of its own, with the model and the data it is about.

    Example: control-plane validate --model-uri models:/coolant_pump@champion --data other_pumps.parquet
    --output validation --tracking-uri sqlite:///data/mlflow.db
    """
    from control_plane.training.dataset import delta_version
    from control_plane.training.validate import validate as run
    from control_plane.training.validate import write_report

    def say(text: str) -> None:
        if not as_json:
            print(text, flush=True)

    registry = ModelRegistry(tracking_uri, experiment)
    model, manifest = registry.load_model(model_uri)
    tags = tags_of(manifest.component_type, fleet)

    def script() -> bytes:
        return registry.load_file(model_uri, TORCHSCRIPT_FILE)

    report = run(model, manifest, data, tags, output, say, script, rows_per_file)
    about = {"model_uri": model_uri, "model": manifest.folder, "sha256": manifest.sha256, "data": str(data)}
    written = write_report(output, report, about)
    registry.runs.log_run(
        RunRecord(
            f"validate {manifest.folder}",
            about | {"source_run": registry.locate(model_uri).run_id},
            {**report.metrics, **{f"importance/{tag}": mean for tag, mean in report.importance.items()}},
            dataset=DatasetRef(str(data), report.data_sha256, delta_version(data)),
            artifacts=[*report.pictures, written],
            tags={"kind": "validation"},
        )
    )
    if report.trained_on_it:
        say("it was trained on this very data: the numbers flatter it; give data that it never saw")
    say(", ".join(f"{name} {value:.4g}" for name, value in report.metrics.items()))
    for tag, mean in report.importance.items():
        say(f"  {tag} moves the RUL by {mean:.3g} cycles")
    say(f"report in {output}")
    if as_json:
        print(json.dumps(json.loads(written.read_text())))
