"""Rolling reductions that give the same bits for one row, a window, a batch and a whole history.

Each output is a tree of its own over the last rows (1, 2, 4, ... rows, then the powers that make up the
count), and each step is one elementwise operation. So its bits depend on those rows alone and never on how
many rows or histories lie beside it, as those of a sum along an array's axis would (numpy adds in blocks of
128 and in lanes of the processor's vector width). And 30 rows take 7 passes, not 29.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SPREAD_TINY = 2.0**-48  # of the mean square: finer than float32 input can show, so it is no spread

Floats = NDArray[np.float32]
Bits = NDArray[np.bool_]
Combine = Callable[..., NDArray[Any]]  # an ufunc of two


def last_rows(values: NDArray[Any], count: int, combine: Combine, rows: int) -> NDArray[Any]:
    """`combine` over the last `count` (>= 1) rows, at each of the last `rows` rows of `(..., n, T)`.

    Over fewer where `n` begins later than that.
    """
    if rows == 1 and values.shape[-2] >= count:
        return _last_row(values[..., -count:, :], combine)
    power, span = values[..., -(rows + count - 1) :, :], 1
    while not count & span:  # the lowest power of two in the count
        power = _joined(power, power, span, combine)
        span *= 2
    out, done = power, span
    while span * 2 <= count:
        power = _joined(power, power, span, combine)
        span *= 2
        if count & span:
            out = _joined(power, out, done, combine)
            done += span
    return out[..., -rows:, :]


class Moments(NamedTuple):
    """Count, sum and sum of squares of the present values: float64, where squares of float32 are exact."""

    number: NDArray[np.int16]
    total: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def of(cls, values: Floats, present: Bits, count: int, rows: int) -> "Moments":
        """Of the last `count` rows at each of the last `rows` rows of `(..., n, T)`."""
        known = np.where(present, values, np.float32(0)).astype(np.float64)
        known += 0.0  # no -0.0, which would let the sign of a sum depend on the rows before
        total = last_rows(known, count, np.add, rows)
        squares = last_rows(np.multiply(known, known, out=known.copy()), count, np.add, rows)
        return cls(_number(present, count, rows), total, squares)

    def mean(self, otherwise: Floats) -> Floats:
        """`(..., rows, T)`; `otherwise` without a present value."""
        mean = self.total / np.maximum(self.number, 1)
        return np.where(self.number > 0, mean, otherwise).astype(np.float32)

    def std(self) -> Floats:
        """Divisor n; 0 without a present value. What cancels is below `SPREAD_TINY`, and counts as none."""
        power = self.number * self.squares
        spread = power - self.total * self.total
        spread[spread <= power * SPREAD_TINY] = 0.0
        return (np.sqrt(spread) / np.maximum(self.number, 1)).astype(np.float32)


def extreme(
    values: Floats, present: Bits, count: int, rows: int, otherwise: Floats, combine: Combine
) -> Floats:
    """`np.minimum` or `np.maximum` of the present values of the last `count` rows; else `otherwise`."""
    none = np.float32(np.inf if combine is np.minimum else -np.inf)
    found = last_rows(np.where(present, values + np.float32(0), none), count, combine, rows)  # no -0.0
    return np.where(np.isinf(found), otherwise, found)


def _number(present: Bits, count: int, rows: int) -> NDArray[np.int16]:
    """How many of the last `count` rows are present."""
    if present.all():
        number = np.minimum(np.arange(1, present.shape[-2] + 1), count).astype(np.int16)[-rows:]
        return np.broadcast_to(number.reshape(-1, 1), (*present.shape[:-2], len(number), present.shape[-1]))
    return last_rows(present.astype(np.int16), count, np.add, rows)


def _last_row(values: NDArray[Any], combine: Combine) -> NDArray[Any]:
    """The same tree for the last row alone: `(..., count, T)` to `(..., 1, T)`."""
    power, out = values, None
    while power.shape[-2]:
        if power.shape[-2] % 2:
            newest = power[..., -1:, :]
            out = newest if out is None else combine(newest, out)
            power = power[..., :-1, :]
        power = combine(power[..., 0::2, :], power[..., 1::2, :])
    assert out is not None  # noqa: S101 - count >= 1
    return out


def _joined(older: NDArray[Any], newer: NDArray[Any], rows: int, combine: Combine) -> NDArray[Any]:
    """`older` as it was `rows` before, combined with `newer`; where there was nothing, `newer`."""
    out = np.empty_like(newer)
    out[..., :rows, :] = newer[..., :rows, :]
    combine(older[..., :-rows, :], newer[..., rows:, :], out=out[..., rows:, :])
    return out
