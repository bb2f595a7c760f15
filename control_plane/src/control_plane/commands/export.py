"""`control-plane export`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from control_plane.commands.options import ExperimentOption, Json, ModelUri, TrackingUri
from control_plane.registry.mlflow_client import EXPERIMENT
from control_plane.registry.mlflow_registry import MANIFEST_FILE, TORCHSCRIPT_FILE, ModelRegistry
from control_plane.registry.mlmodel import MODEL_FILE
from shared.command_line import console
from shared.errors import Untrusted
from shared.features import window_features
from shared.schemas import Manifest
from shared.schemas.window import values_from_blob

DIFFERENCE_MAX = 1e-4  # TorchScript against ONNX, relative above 1; what training allows either of them


class Form(StrEnum):
    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"
    BOTH = "both"


def export(
    model_uri: ModelUri,
    output: Annotated[Path, typer.Option(help="folder for the model and its manifest")],
    tracking_uri: TrackingUri,
    form: Annotated[
        Form, typer.Option("--format", help="which file; the manifest comes with either")
    ] = Form.BOTH,
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="time both: load, latency of a window, throughput")
    ] = False,
    experiment: ExperimentOption = EXPERIMENT,
    as_json: Json = False,
) -> None:
    """Write a model of MLflow as `model.onnx` and as TorchScript, `model.pt`.

    The ONNX file is byte for byte what was registered. TorchScript is checked against it on the golden
    windows first; it runs from C++ or Python with torch alone, takes `features` (N, W, F) and answers
    the manifest's outputs in order.

    Example: control-plane export --model-uri models:/coolant_pump@champion --output out --benchmark
    --tracking-uri sqlite:///data/mlflow.db
    """
    registry = ModelRegistry(tracking_uri, experiment)
    model, manifest = registry.load_model(model_uri)
    files = {MANIFEST_FILE: manifest.model_dump_json(indent=2).encode()}
    script = b""
    if form is not Form.ONNX or benchmark:
        script = registry.load_file(model_uri, TORCHSCRIPT_FILE)
        _check(model_uri, model, script, manifest)
    files |= {MODEL_FILE: model} if form is not Form.TORCHSCRIPT else {}
    files |= {TORCHSCRIPT_FILE: script} if form is not Form.ONNX else {}
    output.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (output / name).write_bytes(content)
    timings = _timings(model, script, manifest) if benchmark else []
    if as_json:
        written = {"model": manifest.folder, "sha256": manifest.sha256, "files": sorted(files)}
        print(json.dumps({**written, "benchmark": timings}))
        return
    print(f"{manifest.folder}: {', '.join(sorted(files))} in {output}")
    if timings:
        _show(timings)


def _check(model_uri: str, model: bytes, script: bytes, manifest: Manifest) -> None:
    from control_plane.training.load_benchmark import same_answers

    found = same_answers(model, script, _golden(manifest))
    if not found <= DIFFERENCE_MAX:
        raise Untrusted(
            "TorchScript", f"{model_uri} differs from its ONNX by {found:.2g}; allowed {DIFFERENCE_MAX:g}"
        )


def _golden(manifest: Manifest) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The golden windows' features `(N, W, F)`."""
    spec = manifest.feature_spec
    raw = np.stack([values_from_blob(golden.window, len(spec.tags)) for golden in manifest.golden])
    return window_features(raw, spec)


def _timings(model: bytes, script: bytes, manifest: Manifest) -> list[dict[str, object]]:
    from control_plane.training.load_benchmark import benchmark

    return [timing._asdict() for timing in benchmark(model, script, _golden(manifest)[-1])]


def _show(timings: list[dict[str, object]]) -> None:
    table = Table("", "size", "load", "one window, median", "99 %", "windows/s")
    for row in timings:
        times = (f"{row['load_ms']:.1f} ms", f"{row['p50_ms']:.3f} ms", f"{row['p99_ms']:.3f} ms")
        table.add_row(str(row["form"]), f"{row['size_bytes']:,} B", *times, f"{row['windows_per_s']:,.0f}")
    console().print(table)
