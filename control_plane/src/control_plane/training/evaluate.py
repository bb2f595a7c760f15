"""How good a model is on units that nothing in it has seen, and a picture of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from control_plane.training.export import run_onnx
from control_plane.training.fit import Fitted, TrainingConfig
from control_plane.training.histories import Unit, windows
from shared.features import FeatureSpec, window_features

Floats = NDArray[np.float32]


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
    fitted: Fitted,
    horizon: float,
) -> dict[str, float]:
    """Metrics over held-out units: MAE, RMSE, R2 (cycles, capped at the horizon), coverage, false alarms."""
    found = [(unit, outputs_of(model, unit, spec, names)) for unit in units]
    rows = [(unit, o, o["rows"].astype(int)) for unit, o in found]
    normal = np.concatenate([o["anomaly_score"][unit.normal[at]] for unit, o, at in rows])
    metrics = {
        "held_out_units": float(len(units)),
        "false_alarm_rate": float((normal > fitted.anomaly_threshold).mean()),
        "ood_rate": float(
            (np.concatenate([o["ood_score"] for _, o, _ in rows]) > fitted.ood_threshold).mean()
        ),
    }
    if "rul" in names:
        truth = np.concatenate(
            [np.minimum(unit.rul[at], horizon) for unit, _, at in rows if unit.rul is not None]
        )
        metrics |= _regression(np.concatenate([o["rul"] for _, o, _ in rows]), truth)
    return metrics


def _regression(predicted: Floats, truth: Floats) -> dict[str, float]:
    low, median, high = predicted.T
    error = median - truth
    return {
        "mae_cycles": float(np.abs(error).mean()),
        "rmse_cycles": float(np.sqrt((error**2).mean())),
        "r2": float(1 - (error**2).sum() / ((truth - truth.mean()) ** 2).sum()),
        "coverage": float(((truth >= low) & (truth <= high)).mean()),
        "mean_width_cycles": float((high - low).mean()),
    }


def plot(
    path: Path, fitted: Fitted, model: bytes, units: Sequence[Unit], spec: FeatureSpec, names: Sequence[str],
    config: TrainingConfig,
) -> None:  # fmt: skip
    """Loss by epoch; RUL of three held-out units with its interval against the truth; anomaly scores."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(15, 4), layout="constrained")
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
    figure.savefig(path, dpi=120)
    plt.close(figure)
