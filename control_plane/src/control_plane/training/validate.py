"""A registered model judged on other data (PRD 4.4): metrics, residuals, trajectories, importance.

Everything is computed through the bytes that are released, but importance, which needs gradients: through
their TorchScript form, once it has given the same numbers.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from control_plane.training.evaluate import Answers, outputs_of, rates, regression, rows_of, rul_of, widened
from control_plane.training.histories import Unit, data_version, load_units
from control_plane.training.pictures import pyplot, save
from shared.errors import ConfigError
from shared.reactor_config import Tag
from shared.schemas import Manifest

TRAJECTORIES_MAX = 9  # units drawn: three by three can be read
REPORT_FILE = "report.json"

Floats = NDArray[np.float32]
Say = Callable[[str], None]


class Report(NamedTuple):
    """What a validation found; `importance` is each tag's mean effect on the RUL in cycles, most first."""

    metrics: dict[str, float]
    importance: dict[str, float]
    data_sha256: str
    trained_on_it: bool
    pictures: list[Path]


def validate(
    model: bytes,
    manifest: Manifest,
    data: Path,
    tags: dict[str, Tag],
    folder: Path,
    say: Say,
    script: Callable[[], bytes],
    rows_per_file: int | None = None,
) -> Report:
    """Judge a model on `data` and leave pictures in `folder`; `script` loads its TorchScript form.

    ConfigError when the data is not of the model's type, or when its tags are not those that the model
    was trained with. Untrusted when the TorchScript form answers otherwise.
    """
    units = _units(manifest, data, tags, rows_per_file)
    say(f"{len(units)} units, {sum(len(u.values) for u in units)} cycles of {manifest.component_type}")
    found = _answers(model, manifest, units)
    metrics = _metrics(found, manifest)
    importance: dict[str, float] = {}
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [_draw_scores(folder / "scores.png", found, manifest)]
    if manifest.horizon_cycles is not None and manifest.references:
        say("importance: integrated gradients of each tag")
        importance, metrics["importance_incompleteness"] = _importance(script(), model, manifest, units)
        pictures.append(_draw_importance(folder / "importance.png", importance))
    if manifest.horizon_cycles is not None and _labelled(found):
        pictures += _draw_rul(folder, found, manifest)
    sha256 = data_version(data)
    return Report(metrics, importance, sha256, sha256 == manifest.training_data_version, pictures)


def measure(model: bytes, manifest: Manifest, data: Path, tags: dict[str, Tag]) -> dict[str, float]:
    """A validation's metrics alone."""
    return _metrics(_answers(model, manifest, _units(manifest, data, tags, None)), manifest)


def write_report(folder: Path, report: Report, about: dict[str, Any]) -> Path:
    """`report.json` beside the pictures: what was judged, on what, and every number."""
    content = about | {
        "data_sha256": report.data_sha256,
        "trained_on_it": report.trained_on_it,
        "metrics": report.metrics,
        "importance": report.importance,
        "pictures": [path.name for path in report.pictures],
    }
    path = folder / REPORT_FILE
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def _importance(
    script: bytes, model: bytes, manifest: Manifest, units: Sequence[Unit]
) -> tuple[dict[str, float], float]:
    from control_plane.training.attribution import importance

    found = importance(script, model, manifest, units)
    return found.cycles, found.incompleteness


def _units(manifest: Manifest, data: Path, tags: dict[str, Tag], rows_per_file: int | None) -> list[Unit]:
    """The data's units; what does not fit the model is refused with the model's name."""
    spec, who = manifest.feature_spec, f"{manifest.folder} is a model of {manifest.component_type}"
    if tuple(tags) != spec.tags:
        raise ConfigError(
            "--fleet",
            [
                f"{who} with the tags {', '.join(spec.tags)}; the type has {', '.join(tags)} here: "
                "give the configuration that it was trained with, or train it anew"
            ],
        )
    try:
        return load_units(data, tags, rows_per_file, manifest.component_type, manifest.operating)
    except ConfigError as error:
        raise ConfigError(error.source, [*error.problems, f"{who}: give data of that type"]) from error


def _answers(model: bytes, manifest: Manifest, units: Sequence[Unit]) -> list[Answers]:
    return [(unit, outputs_of(model, unit, manifest.feature_spec, manifest.outputs)) for unit in units]


def _labelled(found: Sequence[Answers]) -> bool:
    return all(unit.rul is not None for unit, _ in found)


def _metrics(found: Sequence[Answers], manifest: Manifest) -> dict[str, float]:
    cycles = float(sum(len(unit.values) for unit, _ in found))
    metrics = {"units": float(len(found)), "cycles": cycles}
    metrics |= rates(found, manifest.anomaly_threshold, manifest.ood_threshold)
    if manifest.horizon_cycles is not None and _labelled(found):
        metrics |= _rul_metrics(found, manifest.horizon_cycles, manifest.calibration)
    return metrics


def _rul_metrics(found: Sequence[Answers], horizon: float, calibration: object) -> dict[str, float]:
    """Against truths capped at the horizon, and against the truths as they are."""
    predicted, capped = rul_of(found, horizon, calibration)
    _, truth = rul_of(found, np.inf)
    error = predicted[:, 1] - truth
    return {
        **regression(predicted, capped),
        "mae_uncapped_cycles": float(np.abs(error).mean()),
        "rmse_uncapped_cycles": float(np.sqrt((error**2).mean())),
    }


def _draw_rul(folder: Path, found: Sequence[Answers], manifest: Manifest) -> list[Path]:
    horizon = manifest.horizon_cycles or 0.0
    return [
        _draw_residuals(folder / "residuals.png", *rul_of(found, horizon)),
        _draw_trajectories(folder / "trajectories.png", found, horizon, manifest.calibration),
    ]


def _draw_residuals(path: Path, predicted: Floats, truth: Floats) -> Path:
    figure, (left, right) = pyplot().subplots(1, 2, figsize=(11, 4), layout="constrained")
    error = predicted[:, 1] - truth
    left.scatter(truth, error, s=3, alpha=0.3)
    left.axhline(0, color="k", linewidth=0.8)
    left.set(title="Residual by true RUL", xlabel="true RUL (cycles)", ylabel="predicted - true (cycles)")
    right.hist(error, bins=50)
    right.axvline(0, color="k", linewidth=0.8)
    right.set(title="Residuals", xlabel="predicted - true (cycles)", ylabel="windows")
    return save(figure, path)


def _draw_trajectories(path: Path, found: Sequence[Answers], horizon: float, calibration: object) -> Path:
    shown = [(unit, unit.rul, outputs) for unit, outputs in found if unit.rul is not None][:TRAJECTORIES_MAX]
    across = min(3, len(shown))
    down = -(-len(shown) // across)
    figure, axes = pyplot().subplots(
        down, across, figsize=(4 * across, 3 * down), layout="constrained", squeeze=False
    )
    for (unit, rul, outputs), axis in zip(shown, axes.flat, strict=False):
        rows, (low, median, high) = rows_of(outputs), widened(outputs["rul"], calibration).T
        axis.fill_between(rows, low, high, alpha=0.25)
        axis.plot(rows, median, label="predicted")
        axis.plot(rows, np.minimum(rul[rows], horizon), "k--", linewidth=0.9, label="true")
        axis.set(title=unit.name, xlabel="cycle", ylabel="RUL (cycles)")
    axes.flat[0].legend()
    for axis in list(axes.flat)[len(shown) :]:
        axis.set_visible(False)
    return save(figure, path)


def _draw_importance(path: Path, importance: dict[str, float]) -> Path:
    figure, axis = pyplot().subplots(figsize=(7, 0.4 * len(importance) + 1.2), layout="constrained")
    axis.barh(list(importance), list(importance.values()))
    axis.invert_yaxis()
    axis.set(title="Importance of each tag", xlabel="mean effect on the RUL (cycles)")
    return save(figure, path)


def _draw_scores(path: Path, found: Sequence[Answers], manifest: Manifest) -> Path:
    figure, axes = pyplot().subplots(1, 2, figsize=(11, 4), layout="constrained")
    limits = (("anomaly_score", manifest.anomaly_threshold), ("ood_score", manifest.ood_threshold))
    for axis, (name, threshold) in zip(axes, limits, strict=True):
        for _, outputs in found[:TRAJECTORIES_MAX]:
            axis.plot(rows_of(outputs), outputs[name], linewidth=0.8)
        axis.axhline(threshold, color="k", linestyle="--", linewidth=0.8)
        axis.set(title=f"{name} (dashed: threshold)", xlabel="cycle", yscale="log")
    return save(figure, path)
