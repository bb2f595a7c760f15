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


def grouped(known: Floats, present: Bits, spec: FeatureSpec, rows: int) -> Floats:
    """The spec's groups of the last `rows` rows, `(..., rows, F)`, of masked values `(..., n, T)`.

    n is a window's rows, or those of a history; then only what `W` rows before a row is looked at.
    """
    window, count = spec.window_cycles, spec.rolling_cycles or spec.window_cycles
    table = _Masked(known, present, *_filled(known, present, window), window, count, rows)
    return np.concatenate([_GROUPS[group](table) for group in spec.groups], axis=-1)


@dataclass(frozen=True)
class _Masked:
    """What the groups share: values and presence of all rows; the filled values of all rows."""

    known: Floats
    present: Bits
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


def _present(table: _Masked) -> Floats:
    return table.present[..., -table.rows :, :].astype(np.float32)


def _change(table: _Masked) -> Floats:
    """Value less that of the row before; 0 (of either sign) where one of the two is missing."""
    tail = slice(-(table.rows + 1), None)
    filled, before = table.filled[..., tail, :], table.before[..., tail, :]
    present = table.present[..., tail, :]
    change = np.zeros_like(filled)
    np.subtract(filled[..., 1:, :], before[..., :-1, :], out=change[..., 1:, :])
    change[..., 1:, :] *= present[..., 1:, :] & present[..., :-1, :]
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


_GROUPS: dict[Group, Callable[[_Masked], Floats]] = {
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
    """The last good value of the last `window` rows at each row, 0 without one; the same for one row less."""
    if present.all():
        return known, known
    count, tags = present.shape[-2:]
    rows = np.arange(count).reshape(-1, 1)
    last = np.maximum.accumulate(np.where(present, rows, -1), axis=-2)
    first = np.arange(known[..., 0, 0].size).reshape(*known.shape[:-2], 1, 1) * count
    flat = (first + np.maximum(last, 0)) * tags + np.arange(tags)
    found = known.reshape(-1).take(flat)
    filled = np.where(last >= np.maximum(rows - window + 1, 0), found, np.float32(0))
    if count <= window:
        return filled, filled
    return filled, np.where(last >= np.maximum(rows - window + 2, 0), found, np.float32(0))
