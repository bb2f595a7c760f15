"""A picture of the SKAB benchmark: each recording's score over time, with its labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from control_plane.training.skab import Settings, judge_ours
from control_plane.training.skab_files import Recording

COLUMNS = 4
TICKS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # of the score over its threshold
FIGURE_ROWS_MAX = 15  # 60 recordings; SKAB has 34


def plot_scores(path: Path, recordings: Sequence[Recording], settings: Settings) -> None:
    """One panel a recording: score over threshold (line, log), labelled anomaly (shade), alarms (dots)."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    shown = recordings[: COLUMNS * FIGURE_ROWS_MAX]
    rows = -(-len(shown) // COLUMNS)
    figure, axes = plt.subplots(
        rows, COLUMNS, figsize=(16, 2.2 * rows), layout="constrained", squeeze=False, sharey=True
    )
    for axis, recording in zip(axes.flat, shown, strict=False):
        score = judge_ours(recording, settings)
        seconds = settings.train_rows + np.arange(len(score))
        axis.fill_between(
            seconds, 0, 1, where=recording.anomalous, transform=axis.get_xaxis_transform(),
            color="tab:orange", alpha=0.25, linewidth=0,
        )  # fmt: skip
        axis.plot(seconds, score, color="tab:blue", linewidth=0.8)
        axis.plot(seconds[score > 1], score[score > 1], ".", color="tab:red", markersize=1.5)
        axis.axhline(1.0, color="k", linestyle="--", linewidth=0.8)
        axis.set(title=recording.name, yscale="log")
        axis.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
        axis.minorticks_off()
    for axis in axes.flat[len(shown) :]:
        axis.set_axis_off()
    figure.supxlabel("row (about one a second); shaded: labelled as anomalous; red: alarm")
    figure.supylabel("score over threshold")
    figure.savefig(path, dpi=100)
    plt.close(figure)
