"""Features of whole units, from their first row on: what a table of histories gives to a model of rows.

Beside the groups of `FeatureSpec` stands what a window cannot know: how long the unit runs, how long ago its
last fault ended, and each tag as a multiple of what this unit showed when it was new. A batch of units and a
stream of rows give the same bits.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.features.regimes import SCORE_MAX
from shared.features.spec import WINDOW_CYCLES, FeatureSpec, Group
from shared.features.stream import FeatureStream
from shared.features.windows import VALUE_MAX, history_features

BASELINE_ROWS = 10  # good values of a tag that say what is nominal: as many as the agent reads before a score
UNIT_GROUPS: tuple[Group, ...] = ("value", "change", "mean", "std", "min", "max", "present")  # PRD 4.1

Floats = NDArray[np.float32]
Bits = NDArray[np.bool_]
Indices = NDArray[np.intp]


def unit_spec(tags: Sequence[str], window_cycles: int = WINDOW_CYCLES) -> FeatureSpec:
    """The groups of PRD 4.1 over `window_cycles`, one row a row."""
    return FeatureSpec(
        component_type="any", tags=tuple(tags), window_cycles=window_cycles, groups=UNIT_GROUPS, steps=1
    )


def unit_columns(spec: FeatureSpec) -> tuple[str, ...]:
    """Names of what `unit_features` gives."""
    relative = (f"{tag}_relative" for tag in spec.tags)
    return (*spec.columns, *relative, "cycles_since_start", "cycles_since_fault")


def unit_features(
    values: Floats, unit: Indices, cycle: NDArray[np.int64], fault: Bits, spec: FeatureSpec
) -> Floats:
    """Features `(n, F + T + 2)` of the rows of many units, columns as `unit_columns` names them.

    `values`: float32 `(n, T)`, NaN where bad. `unit` `(n,)` numbers the units, each one's rows together, from
    0 on. `cycle` `(n,)` rises within a unit; one that is left out counts as a row without a number. `fault`
    `(n,)` marks cycles of a recorded fault, which is known from the first cycle after it. `spec` is that of
    `unit_spec`. ValueError when the values are not the spec's.
    """
    row, first = np.arange(len(unit)), np.searchsorted(unit, unit)
    place = _places(row > first, cycle, spec.window_cycles)
    spread = np.full((place.max(initial=-1) + 1, values.shape[-1]), np.nan, np.float32)
    spread[place] = values
    found = history_features(spread, spec)[place]
    over = (row > first) & ~fault & np.roll(fault, 1)
    last = np.maximum.accumulate(np.where(over, row - 1, first))
    times = np.stack([cycle - cycle[first], cycle - cycle[last]], axis=-1).astype(np.float32)
    relative = _relative(found[:, : values.shape[-1]], *_baseline(values, unit, first))
    return np.concatenate([found, relative, times], axis=-1)


class UnitStream:
    """The same features as one unit's rows come in. Pure: no clock, no I/O."""

    def __init__(self, spec: FeatureSpec) -> None:
        self.spec = spec
        self._begin(0)

    def _begin(self, cycle: int) -> None:
        self._stream = FeatureStream(self.spec)
        self._start: int = cycle
        self._fault_cycle: int = cycle
        self._cycle: int = cycle
        self._fault, self._rows = False, 0
        self._total = np.zeros(len(self.spec.tags))
        self._count = np.zeros(len(self.spec.tags), np.int64)

    def push(self, row: Floats, cycle: int, fault: bool = False) -> Floats:
        """`(F + T + 2,)` for the next row, float32 `(T,)`; ValueError when it has other tags.

        A counter that did not rise is a plant that began again, so another unit.
        """
        if not self._rows or cycle <= self._cycle:
            self._begin(cycle)
        for _ in range(min(cycle - self._cycle - 1, self.spec.window_cycles)):
            self._stream.push(np.full(len(self.spec.tags), np.nan, np.float32))
        if self._fault and not fault:
            self._fault_cycle = self._cycle
        self._cycle, self._fault, self._rows = cycle, fault, self._rows + 1
        found = self._stream.push(row)[-1]
        new = (np.abs(row) <= VALUE_MAX) & (self._count < BASELINE_ROWS)
        self._total += np.where(new, row, np.float32(0))
        self._count += new
        relative = _relative(found[: len(row)], self._total, self._count)
        times = np.array([cycle - self._start, cycle - self._fault_cycle], np.float32)
        return np.concatenate([found, relative, times])


def _places(goes_on: Bits, cycle: NDArray[np.int64], window: int) -> Indices:
    """Where each row stands in one long history: a window of nothing lies between two units.

    Missed cycles are left free, at most a window of them: more would tell no more.
    """
    step = np.minimum(np.diff(cycle, prepend=cycle[:1]), window + 1)
    step = np.where(goes_on, step, window)
    place: Indices = np.cumsum(step) - step[:1].sum()
    return place


def _baseline(values: Floats, unit: Indices, first: Indices) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum and number of each tag's first good values up to each row, `(n, T)`; added one by one, in order."""
    good = np.abs(values) <= VALUE_MAX
    upto: Indices = np.cumsum(good, axis=0)
    count = upto - (upto - good)[first]
    kept = good & (count <= BASELINE_ROWS)
    number = np.minimum(count, BASELINE_ROWS)
    sums = np.zeros((unit.max(initial=-1) + 1, BASELINE_ROWS + 1, values.shape[-1]))
    rows, tags = np.nonzero(kept)
    sums[unit[rows], count[rows, tags], tags] = values[rows, tags]
    sums = np.cumsum(sums, axis=1)
    return sums[unit[:, np.newaxis], number, np.arange(values.shape[-1])], number


def _relative(latest: Floats, total: NDArray[np.float64], count: NDArray[np.int64]) -> Floats:
    """The last good value as a multiple of the baseline; 0 where there is none yet, or it is 0."""
    some = total != 0
    baseline = np.where(some, total / np.maximum(count, 1), 1.0)
    with np.errstate(over="ignore"):  # of a baseline near 0; the clip is for that
        multiple = np.clip(np.where(some, latest, 0) / baseline, -SCORE_MAX, SCORE_MAX)
    return multiple.astype(np.float32)
