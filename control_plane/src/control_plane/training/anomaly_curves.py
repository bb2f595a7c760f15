"""How well scores tell anomalies from normal cycles: ROC and precision-recall curves, and a picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from control_plane.training.anomaly_models import Floats

BINS = 60


@dataclass(frozen=True)
class Curves:
    """The points of both curves (each from 0 to 1), and the areas below them."""

    false_alarm_rate: Floats
    detection_rate: Floats
    roc_auc: float
    precision: Floats
    recall: Floats
    average_precision: float


def curves(scores: ArrayLike, anomalous: ArrayLike) -> Curves:
    """Curves for scores `(N,)` with labels `(N,)`; ValueError unless both kinds are there."""
    score, truth = _both(scores, anomalous)
    false_alarms, detected, _ = roc_curve(truth, score)
    precision, recall, _ = precision_recall_curve(truth, score)
    return Curves(
        false_alarms,
        detected,
        float(roc_auc_score(truth, score)),
        precision,
        recall,
        float(average_precision_score(truth, score)),
    )


def plot_curves(path: Path, scores: ArrayLike, anomalous: ArrayLike, threshold: float) -> None:
    """Distributions of the scores with the threshold; ROC; precision against recall."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    score, truth = _both(scores, anomalous)
    found = curves(score, truth)
    figure, axes = plt.subplots(1, 3, figsize=(15, 4), layout="constrained")
    bins = np.linspace(score.min(), np.quantile(score, 0.995), BINS)
    for name, part in (("normal", score[~truth]), ("anomalous", score[truth])):
        axes[0].hist(part, bins, density=True, alpha=0.5, label=f"{name} ({len(part)})")
    axes[0].axvline(threshold, color="k", linestyle="--", linewidth=0.8, label="threshold")
    axes[0].set(title="Distribution of scores", xlabel="anomaly score", ylabel="density")
    axes[0].legend()
    axes[1].plot(found.false_alarm_rate, found.detection_rate)
    axes[1].plot([0, 1], [0, 1], "k:", linewidth=0.8)
    axes[1].set(title=f"ROC, area {found.roc_auc:.3f}", xlabel="false alarm rate", ylabel="detection rate")
    axes[2].plot(found.recall, found.precision)
    axes[2].axhline(truth.mean(), color="k", linestyle=":", linewidth=0.8)
    axes[2].set(
        title=f"Precision and recall, average precision {found.average_precision:.3f}",
        xlabel="recall", ylabel="precision", ylim=(0, 1.02),
    )  # fmt: skip
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _both(scores: ArrayLike, anomalous: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    score, truth = np.asarray(scores, np.float64), np.asarray(anomalous, bool)
    if score.shape != truth.shape or score.ndim != 1:
        raise ValueError(f"scores have the shape {score.shape}, labels {truth.shape}; (N,) twice is right")
    if truth.all() or not truth.any():
        raise ValueError(f"{int(truth.sum())} of {len(truth)} points are anomalous; both kinds are needed")
    return score, truth
