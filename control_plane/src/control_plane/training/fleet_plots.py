"""Pictures of a fleet trial: trajectories in the alpha-lambda cone, horizons and delays by fault type."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

from control_plane.training.fleet_trial import (
    ALPHA,
    DETECTED_WITHIN_CYCLES,
    HORIZON_TOLERANCE,
    SOUND,
    Calls,
    Row,
    delay_of,
)

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

METHODS = {"network": "C0", "linear": "C1", "boosting": "C2"}
SOUND_UNITS_MAX = 12  # drawn: more hide each other
STRUCK_UNITS_MAX = 2  # of each fault type
BIN_CYCLES = 8  # of the histogram of delays
DPI = 80

CallsByMethod = Mapping[str, Sequence[Calls]]


def plot_cones(path: Path, component_type: str, calls: CallsByMethod) -> None:
    """Predicted against true RUL, a panel a method: sound units grey, struck ones from their fault on."""
    figure, axes = _panels(len(calls), (4.6, 4.6))
    for axis, (method, found) in zip(axes, calls.items(), strict=True):
        horizon = found[0].horizon
        true = np.array([0.0, horizon])
        axis.fill_between(true, (1 - ALPHA) * true, (1 + ALPHA) * true, color="C2", alpha=0.18, linewidth=0)
        axis.plot(true, true, "k", linewidth=0.9)
        for c in _drawn(found):
            struck = c.subject.fault != SOUND
            seen = c.in_sight
            color, alpha = ("C3", 0.4) if struck else ("0.35", 0.6)
            axis.plot(c.truth[seen], c.predicted[seen, 1], color=color, alpha=alpha, linewidth=0.8)
        axis.set(title=method, xlim=(horizon, 0), ylim=(0, 1.04 * horizon), xlabel="true RUL, cycles")
    axes[0].set_ylabel("predicted RUL (median), cycles")
    title = (
        f"{component_type}: held-out units on their way to failure (green: within {ALPHA:.0%} of the truth;"
    )
    _save(figure, path, f"{title} grey: sound units; red: struck ones, from the fault on)")


def _drawn(calls: Sequence[Calls]) -> list[Calls]:
    """The first units of each fault type, sound ones first."""
    chosen = [c for c in calls if c.subject.fault == SOUND][:SOUND_UNITS_MAX]
    for fault in sorted({c.subject.fault for c in calls} - {SOUND}):
        chosen += [c for c in calls if c.subject.fault == fault][:STRUCK_UNITS_MAX]
    return chosen


def plot_horizons(path: Path, rows: Sequence[Row]) -> None:
    """Median prognostic horizon by fault type and method, a panel a component type."""
    kinds = list(dict.fromkeys(row.component_type for row in rows))
    figure, axes = _panels(len(kinds), (6.4, 4.2))
    for axis, kind in zip(axes, kinds, strict=True):
        faults = list(dict.fromkeys(row.fault for row in rows if row.component_type == kind))
        for place, (method, color) in enumerate(METHODS.items()):
            found = {r.fault: r.horizon for r in rows if (r.component_type, r.method) == (kind, method)}
            at = np.arange(len(faults)) + (place - 1) * 0.27
            axis.barh(at, [found[fault] for fault in faults], 0.25, color=color, label=method)
        axis.set_yticks(range(len(faults)), [fault.replace("_", " ") for fault in faults])
        axis.invert_yaxis()
        axis.set(title=kind, xlabel="cycles before failure")
    axes[-1].legend(loc="lower right")
    what = f"Prognostic horizon, median over units: on from here within {HORIZON_TOLERANCE:.0%} of the life"
    _save(figure, path, what)


def plot_delays(path: Path, calls: Mapping[str, CallsByMethod]) -> None:
    """Histogram of detection delays of struck units, a panel a component type; undetected on the right."""
    figure, axes = _panels(len(calls), (6.4, 3.6))
    edges = [float(edge) for edge in range(0, DETECTED_WITHIN_CYCLES + 2 * BIN_CYCLES, BIN_CYCLES)]
    for axis, (kind, by_method) in zip(axes, calls.items(), strict=True):
        delays = [
            [min(delay_of(c), float(DETECTED_WITHIN_CYCLES)) for c in found if c.subject.fault != SOUND]
            for found in by_method.values()
        ]
        axis.hist(delays, edges, color=[METHODS[name] for name in by_method], label=list(by_method))
        axis.axvline(DETECTED_WITHIN_CYCLES, color="0.4", linestyle=":", linewidth=0.9)
        ticks = [*range(0, DETECTED_WITHIN_CYCLES, 3 * BIN_CYCLES), DETECTED_WITHIN_CYCLES + BIN_CYCLES / 2]
        axis.set_xticks(ticks, [*map(str, ticks[:-1]), "none"])
        axis.set(title=kind, xlabel="cycles from the fault to the first alert", ylabel="struck units")
    axes[0].legend()
    _save(figure, path, f"Detection delay; none: not within {DETECTED_WITHIN_CYCLES} cycles")


def _panels(count: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    figure, axes = plt.subplots(
        1, count, figsize=(size[0] * count, size[1]), layout="constrained", squeeze=False
    )
    return figure, list(axes[0])


def _save(figure: Figure, path: Path, title: str) -> None:
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=DPI, pil_kwargs={"optimize": True})
    plt.close(figure)
