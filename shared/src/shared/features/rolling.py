"""Rolling reductions that give the same bits for one row, a window, a batch and a whole history.

Each output is a tree of its own over the last rows (1, 2, 4, ... rows, then the powers that make up the
count), and each step is one elementwise operation. So its bits depend on those rows alone and never on how
many rows or histories lie beside it, as those of a sum along an array's axis would (numpy adds in blocks of
128 and in lanes of the processor's vector width). And 30 rows take 7 passes, not 29.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPREAD_TINY = 2.0**-48  # of the mean square: finer than float32 input can show, so it is no spread

Floats = NDArray[np.float32]
Bits = NDArray[np.bool_]
Combine = Callable[..., NDArray[Any]]  # an ufunc of two


def last_rows(values: NDArray[Any], count: int, combine: Combine) -> NDArray[Any]:
    """`combine` over the last `count` rows at each row of `(..., n, T)`; over fewer at the front."""
    power, span = values, 1
    out, done = (power, 1) if count & 1 else (None, 0)
    while span * 2 <= count:
        power = _joined(power, power, span, combine)
        span *= 2
        if count & span:
            out = power if out is None else _joined(power, out, done, combine)
            done += span
    assert out is not None  # noqa: S101 - count >= 1
    return out


def mean_std(values: Floats, present: Bits, count: int, otherwise: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation (divisor n) of the present values of the last `count` rows, `(..., n, T)`.

    Sums are float64, where squares of float32 are exact. Without a present value: `otherwise`, and 0.
    """
    known = np.where(present, values, np.float32(0)).astype(np.float64) + 0.0  # no -0.0
    total = last_rows(known, count, np.add)
    squares = last_rows(known * known, count, np.add)
    number = last_rows(present.astype(np.int16), count, np.add)
    some = number > 0
    number = np.maximum(number, 1)
    power = number * squares
    spread = power - total * total
    std = np.sqrt(np.where(spread > power * SPREAD_TINY, spread, 0.0)) / number
    return np.where(some, total / number, otherwise).astype(np.float32), std.astype(np.float32)


def extreme(values: Floats, present: Bits, count: int, otherwise: Floats, combine: Combine) -> Floats:
    """`np.minimum` or `np.maximum` of the present values of the last `count` rows; else `otherwise`."""
    none = np.float32(np.inf if combine is np.minimum else -np.inf)
    found = last_rows(np.where(present, values + np.float32(0), none), count, combine)  # no -0.0
    return np.where(np.isinf(found), otherwise, found)


def _joined(older: NDArray[Any], newer: NDArray[Any], rows: int, combine: Combine) -> NDArray[Any]:
    """`older` as it was `rows` before, combined with `newer`; where there was nothing, `newer`."""
    out = newer.copy()
    combine(older[..., :-rows, :], newer[..., rows:, :], out=out[..., rows:, :])
    return out
