"""A picture of a C-MAPSS benchmark: predictions with their intervals, and errors by RUL."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from control_plane.training.cmapss_trial import Trial

HORIZON = 125.0  # cycles, where the capped truth ends
BIN_CYCLES = 25.0


def draw(path: Path, subset: str, trials: Sequence[Trial]) -> None:
    """Left: the first seed against the truth. Right: error against capped truth, all seeds, by 25 cycles."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
    order = np.argsort(trials[0].truth)
    low, median, high = trials[0].intervals[order].T
    truth = trials[0].truth[order]
    place = np.arange(len(order))
    left.vlines(place, low, high, color="tab:blue", alpha=0.3, label="90 % interval")
    left.plot(place, median, "o", markersize=3, color="tab:blue", label="predicted")
    left.plot(place, np.minimum(truth, HORIZON), "k-", linewidth=1, label="true, capped")
    left.plot(place, truth, "k:", linewidth=0.8, label="true")
    left.set(title=f"{subset}, seed {trials[0].seed}", xlabel="engines by true RUL", ylabel="RUL [cycles]")
    left.legend()
    capped = np.concatenate([np.minimum(trial.truth, HORIZON) for trial in trials])
    error = np.concatenate([trial.intervals[:, 1] for trial in trials]) - capped
    edges = np.arange(0.0, HORIZON + BIN_CYCLES, BIN_CYCLES)
    bins = [error[(capped >= a) & (capped < a + BIN_CYCLES)] for a in edges]
    right.boxplot(bins, positions=edges + BIN_CYCLES / 2, widths=BIN_CYCLES * 0.7, manage_ticks=False)
    right.axhline(0, color="k", linewidth=0.8)
    right.set(
        title=f"Error of {len(trials)} seeds (above zero: late)", xlabel="true RUL, capped [cycles]",
        ylabel="predicted less true [cycles]",
    )  # fmt: skip
    figure.savefig(path, dpi=120)
    plt.close(figure)
