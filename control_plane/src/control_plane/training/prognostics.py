"""How good predicted lives and alerts are over whole trajectories (Saxena et al.). Pure numpy.

Enters: one unit's calls in order of time, one a cycle: `median` `(n,)` and `truth` `(n,)`, RUL in cycles;
intervals `(n, 3)` as low, median, high. A call that is not finite was withheld, and counts neither as right
nor as wrong; a truth that is not finite belongs to a unit that never fails, and there is no remaining life
to be judged against. Leaves: numbers in cycles, or shares 0 to 1; NaN where nothing could be judged. Never: a
choice of what to judge: the caller leaves out what lies beyond a model's horizon.

Sources: [1] Saxena, Celaya, Balaban, Goebel, Saha, Saha and Schwabacher, Metrics for evaluating performance
of prognostic techniques, PHM 2008; [2] Saxena, Celaya, Saha, Saha and Goebel, Metrics for offline evaluation
of prognostic performance, IJPHM 1, 2010; [3] Saxena, Goebel, Simon and Eklund, Damage propagation modeling
for aircraft engine run-to-failure simulation, PHM 2008; [4] Khosravi, Nahavandi, Creighton and Atiya, IEEE
Trans. Neural Networks 22, 2011.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

EARLY_SCALE_CYCLES = 13.0  # of the score: an early call costs less [3]
LATE_SCALE_CYCLES = 10.0  # than a late one [3]
EXPONENT_MAX = 700.0  # exp beyond it overflows a float64

Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]


def inside_cone(median: ArrayLike, truth: ArrayLike, alpha: float) -> Marks:
    """Which calls `(n,)` are within `alpha` of the truth: the cone of the alpha-lambda plot [2]."""
    called, true, judged = _judged(median, truth)
    return judged & (np.abs(called - true) <= alpha * true)


def cone_share(median: ArrayLike, truth: ArrayLike, alpha: float) -> float:
    """Share of the judged calls inside the cone."""
    return _share(inside_cone(median, truth, alpha), _judged(median, truth)[2])


def alpha_lambda(median: ArrayLike, truth: ArrayLike, alpha: float, lam: float) -> float:
    """Alpha-lambda accuracy [2]: 1 or 0, whether the call at `lam` is inside the cone.

    `lam` 0 is the first judged call, 1 the failure. Where the very cycle was withheld or is missing, the
    last judged call before it is what an operator had.
    """
    judged = _judged(median, truth)[2]
    if not judged.any():
        return float("nan")
    return float(inside_cone(median, truth, alpha)[_index_at(truth, judged, lam)])


def relative_accuracy(median: ArrayLike, truth: ArrayLike, lam: float) -> float:
    """`1 - |error| / truth` at `lam` [1]: 1 is exact, below 0 is off by more than the life left."""
    called, true, judged = _judged(median, truth)
    judged &= true > 0
    if not judged.any():
        return float("nan")
    at = _index_at(truth, judged, lam)
    return float(1.0 - abs(called[at] - true[at]) / true[at])


def cumulative_relative_accuracy(median: ArrayLike, truth: ArrayLike) -> float:
    """Mean relative accuracy over the judged calls, all of the same weight [1]; none at truth 0."""
    called, true, judged = _judged(median, truth)
    judged &= true > 0
    if not judged.any():
        return float("nan")
    return float(np.mean(1.0 - np.abs(called - true)[judged] / true[judged]))


def prognostic_horizon(median: ArrayLike, truth: ArrayLike, tolerance: float) -> float:
    """Cycles before failure from which on every judged call is within `tolerance` (cycles) of the truth.

    Stricter than [2], where the first call within the bounds counts even if the next is out again. 0 when
    the last judged call is still out; NaN for a unit that never fails, and without a judged call.
    """
    called, true, judged = _judged(median, truth)
    if not judged.any():
        return float("nan")
    off = np.flatnonzero(judged & (np.abs(called - true) > tolerance))
    good = np.flatnonzero(judged)
    if len(off):
        good = good[good > off[-1]]
    return float(true[good[0]]) if len(good) else 0.0


def late_call_rate(median: ArrayLike, truth: ArrayLike, margin: float) -> float:
    """Share of the judged calls that promise over `margin` cycles more than there were."""
    called, true, judged = _judged(median, truth)
    return _share(judged & (called - true > margin), judged)


def phm_score(median: ArrayLike, truth: ArrayLike) -> float:
    """Sum of `exp(-d / 13) - 1` for early and `exp(d / 10) - 1` for late calls, d = call - truth [3].

    0 is perfect; it grows with the number of calls. 0 without a judged call.
    """
    called, true, judged = _judged(median, truth)
    late = (called - true)[judged]
    scale = np.where(late < 0, -EARLY_SCALE_CYCLES, LATE_SCALE_CYCLES)
    return float(np.expm1(np.minimum(late / scale, EXPONENT_MAX)).sum())


def picp(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Prediction interval coverage probability [4]: share of the judged truths within low and high."""
    inside, judged = _inside_interval(predicted, truth)
    return _share(inside, judged)


def pinaw(predicted: ArrayLike, truth: ArrayLike, span: float) -> float:
    """Prediction interval normalised average width [4]: mean width over `span`, the range in cycles."""
    ends = np.asarray(predicted, np.float64)
    judged = _inside_interval(ends, truth)[1]
    return float(np.mean((ends[:, 2] - ends[:, 0])[judged]) / span) if judged.any() else float("nan")


def worst_bin(predicted: ArrayLike, truth: ArrayLike, span: float, bins: int, calls_min: int = 1) -> float:
    """The least coverage over `bins` equal parts of `[0, span]` of the predicted median.

    Coverage on average may hide a part of life in which intervals miss. Parts with fewer than `calls_min`
    judged calls say nothing and are left out.
    """
    ends = np.asarray(predicted, np.float64)
    inside, judged = _inside_interval(ends, truth)
    median = np.where(judged, ends[:, 1], 0.0)
    part = np.clip((median / span * bins).astype(int), 0, bins - 1)
    shares = [_share(inside & (part == k), judged & (part == k)) for k in range(bins)]
    counts = [np.count_nonzero(judged & (part == k)) for k in range(bins)]
    spoken = [share for share, count in zip(shares, counts, strict=True) if count >= calls_min]
    return float(min(spoken)) if spoken else float("nan")


def alerts(bad: ArrayLike, on_delay: int, off_delay: int) -> NDArray[np.intp]:
    """The calls at which an alert is raised: ISA-18.2's on- and off-delay, in calls.

    `bad` `(n,)`: whether each call, alone, would be one. Raised after `on_delay` bad calls in a row, it
    stands until `off_delay` good ones in a row; only then can it be raised again.
    """
    raised, standing, run, last = [], False, 0, None
    for call, is_bad in enumerate(np.asarray(bad, bool).tolist()):
        run = run + 1 if is_bad == last else 1
        last = is_bad
        if not standing and is_bad and run >= on_delay:
            raised.append(call)
            standing = True
        elif standing and not is_bad and run >= off_delay:
            standing = False
    return np.array(raised, np.intp)


def detection_delay(raised: ArrayLike, cycles: ArrayLike, fault_cycle: float) -> float:
    """Cycles from the fault's first to the first alert raised from then on; infinite when none is.

    `raised`: indices of calls (`alerts`); `cycles` `(n,)`: the cycle of each call. An alert that stood
    before the fault tells nobody of it.
    """
    at = np.asarray(cycles, np.float64)[np.asarray(raised, np.intp)]
    after = at[at >= fault_cycle]
    return float(after[0] - fault_cycle) if len(after) else float("inf")


def false_alarms(raised: ArrayLike, sound: ArrayLike) -> int:
    """How many alerts were raised at calls where there was nothing to tell: `sound` `(n,)` marks those."""
    return int(np.count_nonzero(np.asarray(sound, bool)[np.asarray(raised, np.intp)]))


def per_month(count: float, cycles: float, cycles_per_month: float) -> float:
    """A count over so many cycles as a rate per month; NaN over no cycles."""
    return float(count / cycles * cycles_per_month) if cycles else float("nan")


def _judged(median: ArrayLike, truth: ArrayLike) -> tuple[Floats, Floats, Marks]:
    """Calls and truths with 0 where there is none, and which are there; ValueError for different lengths."""
    called, true = np.asarray(median, np.float64), np.asarray(truth, np.float64)
    if called.ndim != 1 or called.shape != true.shape:
        raise ValueError(f"found calls {called.shape} and truths {true.shape}; needed two of (n,)")
    judged = np.isfinite(called) & np.isfinite(true)
    return np.where(judged, called, 0.0), np.where(judged, true, 0.0), judged


def _index_at(truth: ArrayLike, judged: Marks, lam: float) -> int:
    """The last judged call at or before `lam` of the way from the first one to the failure."""
    places = np.flatnonzero(judged)
    first = int(places[0])
    target = first + lam * float(np.asarray(truth, np.float64)[first])
    return int(places[places <= target][-1])


def _inside_interval(predicted: ArrayLike, truth: ArrayLike) -> tuple[Marks, Marks]:
    ends, true = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if true.ndim != 1 or ends.shape != (len(true), 3):
        raise ValueError(f"found intervals {ends.shape} and truths {true.shape}; needed (n, 3) and (n,)")
    judged = np.isfinite(ends).all(axis=1) & np.isfinite(true)
    return judged & (ends[:, 0] <= true) & (true <= ends[:, 2]), judged


def _share(of: Marks, among: Marks) -> float:
    count = np.count_nonzero(among)
    return float(np.count_nonzero(of & among) / count) if count else float("nan")
