"""The numbers of one C-MAPSS trial: errors, the PHM score, and how far the intervals can be trusted."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EARLY_CYCLES, LATE_CYCLES = 13.0, 10.0  # scales of the PHM 2008 score (Saxena et al. 2008)
LATE_CALL_CYCLES = 10.0  # over the truth: a call this late or later is counted
BINS = 5  # equal parts of the horizon, by prediction
BIN_ENGINES_MIN = 10  # the coverage of fewer says nothing

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Cycles, but for shares (0 to 1) and the PHM score; `capped` truths end at the horizon."""

    rmse_capped: float
    rmse_uncapped: float
    score_capped: float
    score_uncapped: float
    bias: float  # mean of prediction less capped truth
    picp90: float  # share of capped truths inside the 90 % interval
    mean_width90: float
    worst_bin_coverage: float  # of the bins by prediction with enough engines
    late_call_rate: float  # share of calls at least LATE_CALL_CYCLES later than the capped truth


def score(intervals: Floats, truth: Floats, horizon: float) -> Scores:
    """`intervals` `(N, 3)`: low <= median <= high; `truth` `(N,)`; cycles. ValueError without an engine."""
    if not len(truth) or intervals.shape != (len(truth), 3):
        raise ValueError(
            f"found predictions {intervals.shape} for {len(truth)} truths; (N, 3) and N >= 1 fit"
        )
    low, median, high = intervals.T
    capped = np.minimum(truth, horizon)
    error = median - capped
    inside = (capped >= low) & (capped <= high)
    return Scores(
        rmse_capped=_root_mean_square(error),
        rmse_uncapped=_root_mean_square(median - truth),
        score_capped=phm_score(error),
        score_uncapped=phm_score(median - truth),
        bias=float(error.mean()),
        picp90=float(inside.mean()),
        mean_width90=float((high - low).mean()),
        worst_bin_coverage=_worst_bin(inside, median, horizon),
        late_call_rate=float((error >= LATE_CALL_CYCLES).mean()),
    )


def phm_score(error: Floats) -> float:
    """Sum of exp(-d/13) - 1 for early and exp(d/10) - 1 for late calls, d = prediction less truth."""
    return float(np.expm1(np.where(error < 0, -error / EARLY_CYCLES, error / LATE_CYCLES)).sum())


def _root_mean_square(error: Floats) -> float:
    return float(np.sqrt((error**2).mean()))


def _worst_bin(inside: NDArray[np.bool_], median: Floats, horizon: float) -> float:
    """The least coverage of a bin; of all engines where no bin has enough."""
    at = np.minimum((median / horizon * BINS).astype(int), BINS - 1)
    bins = [inside[at == each] for each in range(BINS)]
    return float(min([each.mean() for each in bins if len(each) >= BIN_ENGINES_MIN], default=inside.mean()))
