"""Whether one model does as well as another on the same windows. Pure: no clock, no I/O.

Enters: for each window what the model that is judged said, and what the one that it is compared with said.
Leaves: the numbers of a health report, and the first check that failed.
"""

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import NamedTuple

import numpy as np

from shared.errors import Rejected
from shared.schemas import PredictionRecord


@dataclass(frozen=True)
class HealthLimits:
    """How long is looked, and what is too much.

    Two sound models of C-MAPSS with an RMSE of 13 cycles at a horizon of 125 differ by 0.10 of it at the
    median (independent errors: 0.67 x sqrt(2) x 13 / 125); `shift_max` is two and a half times that.
    """

    trial_cycles: int = 60  # beside the model in use: a drift that sets in after 50 cycles shows here
    watch_cycles: int = 240  # after the commit: four trials, what sets in later than a trial lasts
    early_cycles: int = 20  # then a clear failure ends a trial: a chance fault in one window does not
    recent_cycles: int = (
        20  # shift and out-of-distribution are those of the latest: a late drift counts in full
    )
    latency_ms_max: float = 250.0  # p99 of a window: 40 components still fit into a poll of 10 s
    latency_times_max: float = 10.0  # the p99 of the other, once above `latency_ms_noise`
    latency_ms_noise: float = 50.0  # what a busy machine adds to either
    not_finite_max: float = 0.01  # of all windows, where the other one is below it
    out_of_distribution_over: float = 0.2  # of the latest windows, over the other's
    shift_max: float = 0.25  # of the horizon
    growth_max: float = 0.15  # of the horizon, over what it was at first: a drift, though shift is small yet


class Sample(NamedTuple):
    """What a model said of one window. `place` is the RUL as a fraction of the horizon, of a release
    without RUL 1 for an anomaly; None where nothing finite was said."""

    latency_ms: float | None
    out_of_distribution: bool
    place: float | None

    @property
    def finite(self) -> bool:
        """Whether the outputs were numbers."""
        return self.place is not None


class Failure(NamedTuple):
    """Which check failed, and by how much."""

    check: str
    text: str


def sample(answer: PredictionRecord | Rejected, horizon: float | None) -> Sample:
    """What there is to compare of an answer; raw medians, so that a withheld number counts too."""
    if isinstance(answer, Rejected):
        return Sample(None, False, None)
    place = float(answer.is_anomaly)
    if horizon and "rul" in answer.raw:
        place = float(np.clip(answer.raw["rul"][1] / horizon, 0.0, 1.0))
    return Sample(answer.inference_time_ms, answer.is_ood, place)


@dataclass
class _Side:
    """One of the two models, over the whole period and lately."""

    latencies_ms: deque[float]
    recent: deque[bool]
    not_finite: int = 0

    @classmethod
    def of(cls, limits: HealthLimits, components: int) -> "_Side":
        windows = max(1, components)
        return cls(deque(maxlen=limits.watch_cycles * windows), deque(maxlen=limits.recent_cycles * windows))

    def add(self, one: Sample) -> None:
        if one.latency_ms is not None:
            self.latencies_ms.append(one.latency_ms)
        self.not_finite += not one.finite
        self.recent.append(one.out_of_distribution)

    @property
    def p99_ms(self) -> float:
        """Of fewer than a hundred windows the slowest does not count: it may be a hiccup of the machine."""
        return float(np.quantile(self.latencies_ms, 0.99, method="lower")) if self.latencies_ms else nan

    @property
    def out_of_distribution(self) -> float:
        return sum(self.recent) / len(self.recent) if self.recent else 0.0


class Comparison:
    """Gathers samples cycle by cycle. Bounded: the period ends, a longer one keeps its latest."""

    def __init__(self, components: int = 1, limits: HealthLimits | None = None) -> None:
        self.limits = limits or HealthLimits()
        self._components = components
        self._judged, self._other = (_Side.of(self.limits, components) for _ in range(2))
        self._first: dict[Hashable, list[float]] = {}
        self._latest: dict[Hashable, deque[float]] = {}
        self.cycles = self.windows = 0

    def add(self, pairs: Sequence[tuple[Hashable, Sample, Sample]]) -> None:
        """One cycle: of each component what the judged model said, and what the other did."""
        self.cycles += bool(pairs)
        self.windows += len(pairs)
        for component, judged, other in pairs:
            self._judged.add(judged)
            self._other.add(other)
            if judged.place is not None and other.place is not None:
                self._differs(component, abs(judged.place - other.place))

    def following(self) -> "Comparison":
        """For the next period, with the first shift of this one: a drift is measured from its beginning."""
        after = Comparison(self._components, self.limits)
        after._first = self._first
        return after

    def _differs(self, component: Hashable, by: float) -> None:
        size = self.limits.recent_cycles
        first = self._first.setdefault(component, [])
        if len(first) < size:
            first.append(by)
        self._latest.setdefault(component, deque(maxlen=size)).append(by)

    @property
    def latency_p99_ms(self) -> float:
        """Of the judged model; NaN before the first answer."""
        return self._judged.p99_ms

    @property
    def not_finite_fraction(self) -> float:
        """Of all windows."""
        return self._judged.not_finite / self.windows if self.windows else 0.0

    @property
    def out_of_distribution_fraction(self) -> float:
        """Of the latest windows."""
        return self._judged.out_of_distribution

    @property
    def shift(self) -> float:
        """Median |difference| of the latest windows, of the component where it is greatest; NaN for none."""
        return max((float(np.median(by)) for by in self._latest.values()), default=nan)

    @property
    def growth(self) -> float:
        """By how much the shift grew since the beginning, of the component where it grew most."""
        grown = (float(np.median(by) - np.median(self._first[key])) for key, by in self._latest.items())
        return max(grown, default=nan)

    def failure(self) -> Failure | None:
        """The first check that the judged model fails; None while it is well or too little was seen."""
        limits = self.limits
        if self.cycles < limits.early_cycles:
            return None
        return self._unfit() or self._strange(limits)

    def _unfit(self) -> Failure | None:
        limits, p99_ms, other_ms = self.limits, self.latency_p99_ms, self._other.p99_ms
        if self.not_finite_fraction > max(limits.not_finite_max, self._other.not_finite / self.windows):
            share, most = self.not_finite_fraction, limits.not_finite_max
            return Failure("health: not finite", f"no number for {share:.0%} of windows; at most {most:.0%}")
        if p99_ms > limits.latency_ms_max:
            text = f"p99 {p99_ms:.0f} ms a window; at most {limits.latency_ms_max:.0f}"
            return Failure("health: latency", text)
        if p99_ms > limits.latency_ms_noise and p99_ms > limits.latency_times_max * other_ms:
            text = f"p99 {p99_ms:.0f} ms a window, the other's is {other_ms:.1f}"
            return Failure("health: latency", f"{text}; at most {limits.latency_times_max:.0f} times that")
        return None

    def _strange(self, limits: HealthLimits) -> Failure | None:
        own, other = self.out_of_distribution_fraction, self._other.out_of_distribution
        if own > other + limits.out_of_distribution_over:
            text = f"{own:.0%} of the latest windows, the other {other:.0%}"
            most = f"at most {limits.out_of_distribution_over:.0%} more"
            return Failure("health: out of distribution", f"{text}; {most}")
        if isfinite(self.shift) and self.shift > limits.shift_max:
            text = f"differs by {self.shift:.2f} of the horizon at the median; at most {limits.shift_max:.2f}"
            return Failure("health: shift", text)
        if isfinite(self.growth) and self.growth > limits.growth_max:
            text = f"differs by {self.growth:.2f} of the horizon more than at first"
            return Failure("health: drift", f"{text}; at most {limits.growth_max:.2f}")
        return None
