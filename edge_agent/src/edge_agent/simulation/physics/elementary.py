"""exp, log and power from correctly rounded operations alone: the same bits on every CPU.

NumPy's own come from vector libraries chosen by the CPU it finds (with AVX-512, without, none), and the C
library chooses likewise; their last bits differ. Here are only +, -, *, /, comparisons, table look-ups and
integer operations on the bits, which IEEE 754 fixes to the last one, and no fused multiply-add, because
NumPy rounds after every operation. So a number, an array and a part of it give the same bits too.

Method: argument reduction in two parts (Cody and Waite, Software Manual for the Elementary Functions,
1980) to a table and a short polynomial (Tang, ACM Trans. Math. Softw. 15, 1989, and 16, 1990). The tables
come from `decimal`, which rounds correctly by its definition, whatever the CPU.
"""

from decimal import Context, Decimal
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

EXP_STEPS = 2_048  # of an octave: a table of 16 KB stays in the first cache
LOG_STEPS = 256  # of an octave of the argument
EXP_PLAIN = (-708.0, 709.0)  # between them the result is a normal number; outside it takes more care
EXP_ENDS = (-746.0, 710.0)  # beyond them it is 0 or infinite
POWER_EXPONENT_MAX = 32.0  # of either sign, for 2 ulp; each doubling beyond may cost one bit

_DIGITS = Context(prec=40)
_MANTISSA_BITS = 52
_MANTISSA: Final = (1 << _MANTISSA_BITS) - 1
_ONE: Final = 1023 << _MANTISSA_BITS  # the bits of 1.0
_ROUNDER = 1.5 * (1 << _MANTISSA_BITS)  # a sum with it has no fraction: its low bits are the whole number
_ROUNDER_BITS: Final = (1023 + _MANTISSA_BITS << _MANTISSA_BITS) | (1 << _MANTISSA_BITS - 1)
_SMALLEST_NORMAL = 1.0 / (1 << 1022)
_SUBNORMAL_BITS = 54  # by which a smaller number is moved up, to be normal
_EXP_BITS = EXP_STEPS.bit_length() - 1
_LOG_BITS = _MANTISSA_BITS - (LOG_STEPS.bit_length() - 1)  # of the mantissa, below the table's index
_GRID_BITS = 21  # high parts of a logarithm are whole multiples of 2^-21: up to the largest, 745, 31 bits
_SHORT: Final = ~((1 << 31) - 1)  # leaves 22 bits of a number: such a product with a high part is exact


def _split(value: Decimal, grid_bits: int) -> tuple[float, float]:
    """The nearest whole multiple of 2^-grid_bits, and what is left."""
    high = int((value * (1 << grid_bits)).to_integral_value()) / (1 << grid_bits)
    return high, float(_DIGITS.subtract(value, Decimal(high)))


_LN2 = Decimal(2).ln(_DIGITS)
_LN2_HIGH, _LN2_LOW = _split(_LN2, _GRID_BITS)
_STEP = _DIGITS.divide(_LN2, EXP_STEPS)
_STEP_HIGH, _STEP_LOW = _split(_STEP, 42)  # 31 bits: a product with a count of steps, 22 bits, is exact
_STEPS_PER_UNIT = float(_DIGITS.divide(1, _STEP))
# Chebyshev economisation: the fourth power is left out, and the square makes up for most of it.
_EXP_SQUARE = 0.5 + float(_STEP) * float(_STEP) / 96.0


def exp(x: FloatArray | float) -> FloatArray:
    """e^x, of x's shape, within 2 ulp; 0 and infinity silently where it leaves the doubles; NaN for NaN."""
    return _exp(_array(x)).reshape(np.shape(x))


def log(x: FloatArray | float) -> FloatArray:
    """Natural logarithm, of x's shape, within 2 ulp; -infinity for 0, NaN below, silently."""
    high, low = _log(_array(x))
    low += high
    return low.reshape(np.shape(x))


def power(x: FloatArray | float, exponent: float) -> FloatArray:
    """x^exponent of numbers that are not negative (NaN below 0), of x's shape.

    Within 2 ulp for exponents up to POWER_EXPONENT_MAX of either sign; 1 for exponent 0, also of NaN;
    0 and infinity silently where it leaves the doubles.
    """
    if exponent == 0.0:
        return np.ones(np.shape(x))
    high, low = _log(_array(x))
    short = float((np.array([exponent], np.float64).view(np.int64) & _SHORT).view(np.float64)[0])
    with np.errstate(all="ignore"):
        low *= exponent
        if short != exponent:
            low += high * (exponent - short)
        high *= short
        return _exp(high, low).reshape(np.shape(x))


def _array(x: FloatArray | float) -> FloatArray:
    return np.atleast_1d(np.asarray(x, dtype=np.float64))


def _exp(x: FloatArray, small: FloatArray | None = None) -> FloatArray:
    """e^(x + small); `small` is what x's bits cannot hold of the exponent."""
    if x.size and x.min() >= EXP_PLAIN[0] and x.max() <= EXP_PLAIN[1]:
        fraction, steps = _exp_parts(x, small)
        steps >>= _EXP_BITS
        steps <<= _MANTISSA_BITS  # the bits of `_ROUNDER` leave at the upper end
        steps += fraction.view(np.int64)
        return steps.view(np.float64)
    with np.errstate(all="ignore"):
        small = None if small is None else np.where(np.isfinite(x), small, 0.0)
        fraction, steps = _exp_parts(np.asarray(np.clip(x, *EXP_ENDS)), small)
        octaves = np.where(np.isnan(x), 0, (steps - _ROUNDER_BITS) >> _EXP_BITS)
        half = octaves >> 1  # in two steps, because 2^octaves may itself be no normal number
        return np.asarray(fraction * _power_of_2(half) * _power_of_2(octaves - half))


def _exp_parts(x: FloatArray, small: FloatArray | None) -> tuple[FloatArray, NDArray[np.int64]]:
    """e^(x + small) without its whole octaves, 1 to 2; and its steps of an octave, as bits of `_ROUNDER`.

    The whole steps are taken off and looked up; the rest r is short, so that e^r - 1 is
    r (1 + r (1/2 + r / 6)) but for 2^-57.
    """
    count = np.multiply(x if small is None else x + small, _STEPS_PER_UNIT, out=np.empty(x.shape))
    count += _ROUNDER
    steps = count.view(np.int64).copy()
    count -= _ROUNDER
    rest = np.multiply(count, _STEP_HIGH, out=np.empty(x.shape))
    np.subtract(x, rest, out=rest)
    count *= _STEP_LOW
    rest -= count
    if small is not None:
        rest += small
    grown = np.multiply(rest, 1.0 / 6.0, out=count)
    grown += _EXP_SQUARE
    grown *= rest
    grown += 1.0
    grown *= rest
    whole = _exp_table().take(steps & (EXP_STEPS - 1))
    grown *= whole
    grown += whole
    return grown, steps


def _log(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The logarithm in two parts: the high one a whole multiple of 2^-21, the low one under 2^-8."""
    if x.size and x.min() >= _SMALLEST_NORMAL and x.max() < np.inf:
        return _log_parts(x, 0)
    with np.errstate(all="ignore"):
        subnormal = (x > 0.0) & (x < _SMALLEST_NORMAL)
        plain = np.where(np.isfinite(x) & (x > 0.0), x, 1.0)
        high, low = _log_parts(
            np.where(subnormal, plain * (1 << _SUBNORMAL_BITS), plain),
            np.where(subnormal, _SUBNORMAL_BITS, 0),
        )
        high = np.where(x == 0.0, -np.inf, np.where(x == np.inf, np.inf, high))
        return np.where((x < 0.0) | np.isnan(x), np.nan, high), low


def _log_parts(x: FloatArray, octaves_up: NDArray[np.int64] | int) -> tuple[FloatArray, FloatArray]:
    """`_log` of normal numbers; the logarithm of the nearest c of the table, and log1p((x - c) / c)."""
    bits = x.view(np.int64)
    mantissa = bits & _MANTISSA
    mantissa |= _ONE
    nearest = np.add(mantissa, 1 << _LOG_BITS - 1, out=np.empty(x.shape, np.int64))
    nearest &= -1 << _LOG_BITS
    rest = np.subtract(mantissa.view(np.float64), nearest.view(np.float64), out=np.empty(x.shape))
    rest /= nearest.view(np.float64)
    nearest -= _ONE
    nearest >>= _LOG_BITS
    octaves = ((bits >> _MANTISSA_BITS) - (1023 + octaves_up)).astype(np.float64)
    low = np.multiply(rest, -1.0 / 6.0, out=mantissa.view(np.float64))
    for coefficient in (1.0 / 5.0, -1.0 / 4.0, 1.0 / 3.0, -1.0 / 2.0):
        low += coefficient
        low *= rest
    low *= rest
    low += rest
    high_table, low_table = _log_tables()
    low += octaves * _LN2_LOW + low_table.take(nearest)
    octaves *= _LN2_HIGH
    octaves += high_table.take(nearest)
    return octaves, low


def _power_of_2(octaves: NDArray[np.int64]) -> FloatArray:
    return np.asarray((octaves + 1023) << _MANTISSA_BITS).view(np.float64)


@cache
def _exp_table() -> FloatArray:
    """2^(j / EXP_STEPS)."""
    return np.array([float(_DIGITS.exp(_DIGITS.multiply(_STEP, j))) for j in range(EXP_STEPS)])


@cache
def _log_tables() -> tuple[FloatArray, FloatArray]:
    """High and low parts of log(1 + j / LOG_STEPS), from 0 to log 2."""
    points = (Decimal(LOG_STEPS + j) / LOG_STEPS for j in range(LOG_STEPS + 1))
    high, low = zip(*(_split(point.ln(_DIGITS), _GRID_BITS) for point in points), strict=True)
    return np.array(high), np.array(low)
