"""How good a model is on units that nothing in it has seen, and a picture of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from control_plane.training.histories import Unit, windows
from control_plane.training.onnx_outputs import run_onnx
from control_plane.training.pictures import pyplot, save
from shared.features import FeatureSpec, window_features

if TYPE_CHECKING:
    from control_plane.training.fit import Fitted, TrainingConfig

Floats = NDArray[np.float32]
Answers = tuple[Unit, dict[str, Floats]]  # a unit and every output for each of its windows


def outputs_of(model: bytes, unit: Unit, spec: FeatureSpec, names: Sequence[str]) -> dict[str, Floats]:
    """Every window of a unit through the shipped bytes; a `rows` entry says where each ends."""
    raw, ends = windows(unit, spec)
    found = run_onnx(model, window_features(raw, spec), names)
    return {**found, "rows": ends.astype(np.float32)}


def judge(
    model: bytes,
    units: Sequence[Unit],
    spec: FeatureSpec,
    names: Sequence[str],
    fitted: "Fitted",
    horizon: float,
    calibration: object = None,
) -> dict[str, float]:
    """Metrics over held-out units: MAE, RMSE, R2 (cycles, capped at the horizon), coverage, false alarms.

    The interval is the one that is shown: as `calibration`, the manifest's, widens it.
    """
    found = [(unit, outputs_of(model, unit, spec, names)) for unit in units]
    return {
        "held_out_units": float(len(units)),
        **rates(found, fitted.anomaly_threshold, fitted.ood_threshold),
        **(regression(*rul_of(found, horizon, calibration)) if "rul" in names else {}),
    }


def rates(found: Sequence[Answers], anomaly_threshold: float, ood_threshold: float) -> dict[str, float]:
    """Share of normal cycles above the anomaly threshold, and of all cycles unlike the training data."""
    normal = np.concatenate([o["anomaly_score"][unit.normal[rows_of(o)]] for unit, o in found])
    ood = np.concatenate([o["ood_score"] for _, o in found])
    alarms = {"false_alarm_rate": float((normal > anomaly_threshold).mean())} if len(normal) else {}
    return {**alarms, "ood_rate": float((ood > ood_threshold).mean())}


def rul_of(found: Sequence[Answers], horizon: float, calibration: object = None) -> tuple[Floats, Floats]:
    """Predictions `(N, 3)` and truths `(N,)` of every window in cycles, truths capped at the horizon."""
    truth = [unit.rul[rows_of(o)] for unit, o in found if unit.rul is not None]
    predicted = [o["rul"] for unit, o in found if unit.rul is not None]
    capped = np.minimum(np.concatenate(truth), np.float32(horizon))
    return widened(np.concatenate(predicted), calibration), capped


def widened(rul: Floats, calibration: object) -> Floats:
    """Low end, median and high end as they are shown; a release whose graph widens brings no `widen`."""
    widen = getattr(calibration, "widen", None)
    return rul if widen is None else np.stack(widen(*rul.T), axis=-1).astype(np.float32)


def rows_of(outputs: dict[str, Floats]) -> NDArray[np.int_]:
    """The row of its unit at which each window ends."""
    return outputs["rows"].astype(int)


def regression(predicted: Floats, truth: Floats) -> dict[str, float]:
    """MAE, RMSE (cycles), R2 (left out where every truth is the same), coverage and width of the interval."""
    low, median, high = predicted.T
    error = median - truth
    spread = float(((truth - truth.mean()) ** 2).sum())
    return {
        "mae_cycles": float(np.abs(error).mean()),
        "rmse_cycles": float(np.sqrt((error**2).mean())),
        **({"r2": float(1 - (error**2).sum() / spread)} if spread else {}),
        "coverage": float(((truth >= low) & (truth <= high)).mean()),
        "mean_width_cycles": float((high - low).mean()),
    }


def plot(
    path: Path,
    fitted: "Fitted",
    model: bytes,
    units: Sequence[Unit],
    spec: FeatureSpec,
    names: Sequence[str],
    config: "TrainingConfig",
) -> None:
    """Loss by epoch; RUL of three held-out units with its interval against the truth; anomaly scores."""
    figure, axes = pyplot().subplots(1, 3, figsize=(15, 4), layout="constrained")
    for line, label in zip(zip(*fitted.losses, strict=True), ("training", "held-out units"), strict=False):
        axes[0].plot(range(1, len(line) + 1), line, label=label)
    axes[0].set(title="Loss", xlabel="epoch", ylabel="pinball loss")
    for unit in units[:3]:
        found = outputs_of(model, unit, spec, names)
        rows = found["rows"].astype(int)
        axes[2].plot(rows, found["anomaly_score"], linewidth=0.8)
        if unit.rul is not None:
            [line] = axes[1].plot(rows, found["rul"][:, 1])
            axes[1].fill_between(
                rows, found["rul"][:, 0], found["rul"][:, 2], alpha=0.2, color=line.get_color()
            )
            axes[1].plot(rows, np.minimum(unit.rul[rows], config.horizon_cycles), "k--", linewidth=0.8)
    axes[1].set(title="RUL of held-out units (dashed: truth)", xlabel="cycle", ylabel="cycles")
    axes[2].axhline(fitted.anomaly_threshold, color="k", linestyle="--", linewidth=0.8)
    axes[2].set(title="Anomaly score (dashed: threshold)", xlabel="cycle", yscale="log")
    if fitted.losses:
        axes[0].legend()
    save(figure, path)
