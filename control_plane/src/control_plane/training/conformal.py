"""Conformal margins from whole units, by predicted RUL.

What is promised. Let `K` units, none of which the network trained on, reach a bin of predicted medians. A
new unit of the same kind as those `K` (exchangeable with them), looked at once, at a moment drawn as theirs
are in that bin, is covered with probability at least `coverage * (K + 1/2) / (K + 1)`, whatever the network
and the distribution: 0.86 for ten units and 0.89 for fifty at 0.9 (each unit has the same weight, however
many windows it has, and the new one the worst place: hierarchical conformal prediction, Lee, Barber and
Willett 2023; the score is that of conformalised quantile regression, Romano, Patterson and Candes 2019). On
average over units it is `coverage` or up to half a unit more.

That is a mean over draws of the `K` units. One draw is off by up to `sqrt(coverage * (1 - coverage) / K)`,
0.07 with twenty units, 0.03 with a hundred (Vovk 2012), and what is then counted on `N` new units is off by
as much again for `N`. So as many units as there are should calibrate: with `parts` of `TrainingConfig` every
unit does, judged by networks that trained on the other parts. What answers then is the mean of all parts'
networks and not the one that was judged. No theorem covers that (CV+ of Barber et al. 2021, which has one,
would widen each interval by how far the networks are apart); it holds as far as the networks agree, and as
the mean is wrong by less than each, rather too wide. Held-out C-MAPSS engines: docs/model_experiments.md.

What is not promised. Neither that of each unit, nor that of each moment of one unit's life (neighbouring
windows miss together), nor that at a site whose units wear otherwise than these did; nor at moments drawn in
another way: whole lives hold many easy windows far from failure, so where nobody looks that early,
`calibrate_beyond: false` leaves them out. And not the full figure when the network's best epoch or its
settings were chosen on these very units, only nearly. Where fewer than `UNITS_MIN` units reach the whole
range, the one bin that is left rests on those there are, and says so.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared.schemas import Calibration, CalibrationBin
from shared.schemas.calibration import HORIZON_FRACTION

BINS_MAX = 5  # equal parts of the horizon, before merging: 25 cycles each at the usual 125
UNITS_MIN = 10  # in a bin: with fewer, nine in ten would hang on the single worst unit
ROUND_UP_CYCLES = 1e-3  # of a margin: what lies exactly at an end stays inside despite rounding

Floats = NDArray[np.float64]


def calibrate(
    predicted: ArrayLike, truth: ArrayLike, units: ArrayLike, horizon: float, coverage: float = 0.9
) -> Calibration:
    """Margins by bin of predicted median, from windows of units that the network did not train on.

    `predicted` `(N, 3)`: low <= median <= high, cycles; `truth` `(N,)`: RUL, cycles, capped here at
    `horizon`; `units` `(N,)`: which unit each window is of. ValueError when there is no window, when the
    shapes do not fit, or when a number is not finite.
    """
    ends, true = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    unit = np.asarray(units)
    if ends.shape != (len(true), 3) or unit.shape != true.shape or not len(true):
        raise ValueError(
            f"found predictions {ends.shape}, truths {true.shape} and units {unit.shape}; "
            "needed (N, 3), (N,) and (N,), N at least 1"
        )
    if not (np.isfinite(ends).all() and np.isfinite(true).all()):
        raise ValueError("a prediction or a truth is not finite; each window needs both")
    ends = ends.clip(0.0, horizon)
    scores = _scores(ends, np.minimum(true, horizon), horizon)
    edges = _edges(ends[:, 1], unit, horizon)
    at = np.searchsorted(edges[:-1], ends[:, 1], side="right")
    bins = tuple(_bin(upper, scores[at == i], unit[at == i], coverage) for i, upper in enumerate(edges))
    return Calibration(coverage=coverage, horizon_cycles=horizon, bins=bins)


def coverage_by_unit(
    calibration: Calibration, predicted: ArrayLike, truth: ArrayLike, units: ArrayLike
) -> float:
    """Mean over units of the share of windows whose capped truth the calibrated interval holds."""
    low, _, high = calibration.widen(*np.asarray(predicted, np.float64).T)
    true = np.minimum(np.asarray(truth, np.float64), calibration.horizon_cycles)
    inside = (true >= low) & (true <= high)
    unit = np.asarray(units)
    return float(np.mean([inside[unit == each].mean() for each in np.unique(unit)]))


def _scores(ends: Floats, true: Floats, horizon: float) -> Floats:
    """The least margin at which `Calibration.widen` holds the truth; `-horizon` where any does."""
    low, median, high = ends.T
    is_open = high >= HORIZON_FRACTION * horizon
    never = -horizon
    above = np.where(is_open, never, true - high)
    return np.where(true < median, low - true, np.where(true > median, above, never))


def _edges(median: Floats, unit: NDArray[np.generic], horizon: float) -> list[float]:
    """Upper ends of the bins: equal parts, each merged with the next until `UNITS_MIN` units reach it."""
    merged: list[float] = []
    lower = 0.0
    for part in range(1, BINS_MAX + 1):
        upper = horizon * part / BINS_MAX
        last = part == BINS_MAX
        inside = (median >= lower) & ((median < upper) | last)
        if len(np.unique(unit[inside])) >= UNITS_MIN:
            merged.append(upper)
            lower = upper
        elif last:  # too few beyond the last full bin: it takes them in
            merged = [*merged[:-1], upper]
    return merged


def _bin(upper: float, scores: Floats, unit: NDArray[np.generic], coverage: float) -> CalibrationBin:
    """One bin: the quantile of the scores with every unit of the same weight, half a unit above."""
    _, number, windows = np.unique(unit, return_inverse=True, return_counts=True)
    count = len(windows)
    level = min(1.0, coverage * (count + 0.5) / count)
    margin = _weighted_quantile(scores, 1.0 / (count * windows[number]), level)
    rounded = np.ceil(margin / ROUND_UP_CYCLES) * ROUND_UP_CYCLES
    return CalibrationBin(upper_cycles=upper, margin_cycles=round(float(rounded), 6), units=count)


def _weighted_quantile(values: Floats, weights: Floats, level: float) -> float:
    """The least value at and below which lies at least `level` of the weight (which sums to 1)."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    place = int(np.searchsorted(total, level * (1 - 1e-12)))
    return float(values[order][min(place, len(values) - 1)])
