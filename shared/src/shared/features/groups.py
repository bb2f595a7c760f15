"""The groups of features, each from masked values. A row never knows what comes after it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shared.features import rolling
from shared.features.spec import FeatureSpec, Group

Floats = NDArray[np.float32]
Bits = NDArray[np.bool_]
Indices = NDArray[np.intp]


def grouped(known: Floats, present: Bits, spec: FeatureSpec, out: Floats) -> None:
    """The spec's groups of masked values `(..., n, T)`, of the last rows, as many as `out` `(..., S, F)` has.

    n is a window's rows, or those of a history; then a row is made of those of its window alone.
    """
    window, count = spec.window_cycles, spec.rolling_cycles or spec.window_cycles
    whole = bool(present.all())
    filled, before = (known, known) if whole else _filled(known, present, window)
    table = _Masked(known, present, whole, filled, before, window, count, out.shape[-2])
    np.concatenate([_GROUPS[group](table) for group in spec.groups], axis=-1, out=out)


@dataclass(frozen=True)
class _Masked:
    """What the groups share: values and presence of all rows; the filled values of all rows."""

    known: Floats
    present: Bits
    whole: bool  # nothing is missing, as of most windows
    filled: Floats
    before: Floats  # filled as the window of the *next* row has it, which begins one row later
    window: int
    count: int  # rows that the rolling groups look back over
    rows: int

    @cached_property
    def moments(self) -> rolling.Moments:
        return rolling.Moments.of(*self._tail(), self.count, self.rows)

    def extreme(self, combine: rolling.Combine) -> Floats:
        return rolling.extreme(*self._tail(), self.count, self.rows, _value(self), combine)

    def _tail(self) -> tuple[Floats, Bits]:
        """Values and presence of the rows that the last `rows` look back on."""
        tail = slice(-(self.rows + self.count - 1), None)
        return self.known[..., tail, :], self.present[..., tail, :]


def _value(table: _Masked) -> Floats:
    return table.filled[..., -table.rows :, :]


def _present(table: _Masked) -> Bits:
    return table.present[..., -table.rows :, :]


def _change(table: _Masked) -> Floats:
    """Value less that of the row before; 0 (of either sign) where one of the two is missing.

    A gap repeats the row before it, which makes a 0. What is left are the rows behind the gaps.
    """
    tail = slice(-(table.rows + 1), None)
    filled, before = table.filled[..., tail, :], table.before[..., tail, :]
    change = np.zeros(filled.shape, filled.dtype)
    np.subtract(filled[..., 1:, :], before[..., :-1, :], out=change[..., 1:, :])
    if table.whole:
        return change[..., -table.rows :, :]
    behind = np.flatnonzero(~table.present[..., tail, :]) + filled.shape[-1]  # or a window's first row: 0
    change.reshape(-1)[behind[behind < change.size]] *= 0
    return change[..., -table.rows :, :]


def _cycles(table: _Masked) -> Floats:
    """`(..., rows, 1)`: rows since the first of the window with any good value; 0 at and before it."""
    count = table.present.shape[-2]
    rows = np.arange(count)
    following = np.where(table.present.any(axis=-1), rows, count)[..., ::-1]
    first = np.minimum.accumulate(following, axis=-1)[..., ::-1]
    first = first[..., np.maximum(rows - table.window + 1, 0)]
    cycles = np.maximum(rows - first, 0).astype(np.float32)
    return cycles[..., -table.rows :, np.newaxis]


_GROUPS: dict[Group, Callable[[_Masked], Floats | Bits]] = {
    "value": _value,
    "change": _change,
    "present": _present,
    "mean": lambda table: table.moments.mean(_value(table)),
    "std": lambda table: table.moments.std(),
    "min": lambda table: table.extreme(np.minimum),
    "max": lambda table: table.extreme(np.maximum),
    "cycles": _cycles,
}


def _filled(known: Floats, present: Bits, window: int) -> tuple[Floats, Floats]:
    """The last good value of the last `window` rows at each row, 0 without one; the same for one row less.

    Only gaps are worked on, as most windows have one or none; the first is `known` itself, filled.
    """
    count, tags = present.shape[-2:]
    row, place, age = _ages(np.flatnonzero(~present), present)
    found = np.where(age <= row, known.reshape(-1)[place - age * tags], np.float32(0))
    before = known
    if count > window:
        before = known.copy()
        before.reshape(-1)[place] = np.where(age < window - 1, found, np.float32(0))
        found = np.where(age < window, found, np.float32(0))
    known.reshape(-1)[place] = found
    return known, before


def _ages(gaps: Indices, present: Bits) -> tuple[Indices, Indices, Indices]:
    """Row and flat place of each gap, and how many rows before it the last value is.

    That may be before the first row. `gaps` are flat places; they come back column by column, but where
    each is alone, as most are.
    """
    count, tags = present.shape[-2:]
    line, tag = np.divmod(gaps, tags)
    window, row = np.divmod(line, count)
    if (present.reshape(-1)[gaps - tags] | (row == 0)).all():
        return row, gaps, np.ones_like(gaps)
    key = np.sort((window * tags + tag) * count + row)
    column, row = np.divmod(key, count)
    window, tag = np.divmod(column, tags)
    begins = (np.diff(key, prepend=-2) != 1) | (row == 0)
    age = key - np.maximum.accumulate(np.where(begins, key, 0)) + 1
    return row, (window * count + row) * tags + tag, age
