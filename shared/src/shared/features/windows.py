"""Raw windows to features: mask, z-score by regime, smoothing, groups, last steps, in this order.

Every step is elementwise or a tree of fixed shape, so one window, a batch and a history give the same bits.
"""

import numpy as np
from numpy.typing import NDArray

from shared.features.regimes import normalise
from shared.features.rolling import extreme, mean_std
from shared.features.spec import FeatureSpec, Group

VALUE_MAX = np.float32(1e38)  # in any unit: the difference of two is still finite in float32

Floats = NDArray[np.float32]
Bits = NDArray[np.bool_]
Indices = NDArray[np.intp]


def window_features(values: Floats, spec: FeatureSpec) -> Floats:
    """Features of raw windows.

    `values`: float32 `(..., W, T)`, NaN where a value had bad quality, tags in the spec's order.
    Returns float32 `(..., S, F)` (`spec.shape`), finite, columns as `spec.columns` names them. A missing
    value repeats the last good one before it in the window; 0 before the first. docs/features.md has every
    group's formula. ValueError when the shape is not the spec's, or the values are not numbers.
    """
    known, present = masked(values, spec)
    if values.shape[-2] != spec.window_cycles:
        expected = (spec.window_cycles, len(spec.tags))
        raise ValueError(
            f"found windows of {values.shape[-2:]} cycles x tags; {spec.component_type} has {expected}"
        )
    if spec.smoothing < 1:
        known = _smoothed(known, present, np.float32(spec.smoothing))
    return grouped(known, present, spec)[..., -spec.shape[0] :, :]


def masked(values: Floats, spec: FeatureSpec) -> tuple[Floats, Bits]:
    """Values `(..., n, T)` as float32, z-scores where the spec says so, 0 where not good; and which are good.

    ValueError when the last axis is not the spec's tags or the values are not numbers.
    """
    if values.dtype.kind not in "fiu":
        raise ValueError(
            f"found values of type {values.dtype}; {spec.component_type} needs numbers (float32)"
        )
    if values.ndim < 2 or values.shape[-1] != len(spec.tags):
        expected = (spec.window_cycles, len(spec.tags))
        raise ValueError(
            f"found windows of {values.shape[-2:]} cycles x tags; {spec.component_type} has {expected}"
        )
    with np.errstate(over="ignore"):  # a float64 beyond float32 is infinite, and so missing
        values = values.astype(np.float32, copy=False)
    present = np.abs(values) <= VALUE_MAX
    known = np.where(present, values, np.float32(0))
    if spec.normalisation is None:
        return known, present
    return normalise(known, present, spec.normalisation, spec.tags)


def grouped(known: Floats, present: Bits, spec: FeatureSpec) -> Floats:
    """The spec's groups `(..., n, F)` of masked values `(..., n, T)`; n is a window's rows or a history's."""
    window, count = spec.window_cycles, spec.rolling_cycles or spec.window_cycles
    last = _last_present(present)
    parts: dict[Group, Floats] = {"present": present.astype(np.float32)}
    parts["value"] = filled = _repeated(known, last, window)
    if "change" in spec.groups:
        parts["change"] = _change(known, present, last, window)
    if "cycles" in spec.groups:
        parts["cycles"] = _cycles(present, window)
    if {"mean", "std"} & {*spec.groups}:
        parts["mean"], parts["std"] = mean_std(known, present, count, filled)
    if "min" in spec.groups:
        parts["min"] = extreme(known, present, count, filled, np.minimum)
    if "max" in spec.groups:
        parts["max"] = extreme(known, present, count, filled, np.maximum)
    return np.concatenate([parts[group] for group in spec.groups], axis=-1)


def _last_present(present: Bits) -> Indices:
    """Row number of the last good value at or before each row; -1 before the first."""
    rows = np.arange(present.shape[-2]).reshape(-1, 1)
    if present.all():
        return np.broadcast_to(rows, present.shape)
    return np.maximum.accumulate(np.where(present, rows, -1), axis=-2)


def _repeated(known: Floats, last: Indices, cycles: int) -> Floats:
    """The last good value of the last `cycles` rows at each row; 0 where there is none."""
    oldest = np.maximum(np.arange(last.shape[-2]) - cycles + 1, 0).reshape(-1, 1)
    found = np.take_along_axis(known, np.maximum(last, 0), axis=-2)
    return np.where(last >= oldest, found, np.float32(0))


def _change(known: Floats, present: Bits, last: Indices, window: int) -> Floats:
    """Value less that of the row before; 0 (of either sign) where one of the two is missing.

    Each as the window that ends with the row has it: the row before is then one row nearer to its start.
    """
    now, before = _repeated(known, last, window), _repeated(known, last, window - 1)
    change = np.zeros_like(now)
    change[..., 1:, :] = now[..., 1:, :] - before[..., :-1, :]
    change[..., 1:, :] *= present[..., 1:, :] & present[..., :-1, :]
    return change


def _cycles(present: Bits, window: int) -> Floats:
    """`(..., n, 1)`: rows since the first of the window with any good value; 0 at and before it."""
    count = present.shape[-2]
    rows = np.arange(count)
    known = present.any(axis=-1)
    following = np.where(known, rows, count)[..., ::-1]
    first = np.minimum.accumulate(following, axis=-1)[..., ::-1][..., np.maximum(rows - window + 1, 0)]
    return np.maximum(rows - first, 0).astype(np.float32)[..., np.newaxis]


def _smoothed(known: Floats, present: Bits, weight: np.float32) -> Floats:
    """Exponential average along the rows from the first good value on; a missing row repeats the last."""
    out = np.empty_like(known)
    level = np.zeros_like(known[..., 0, :])
    seen = np.zeros_like(present[..., 0, :])
    for row in range(known.shape[-2]):
        now, good = known[..., row, :], present[..., row, :]
        step = np.where(seen, level + weight * (now - level), now)
        level = np.where(good, step, level)
        seen = seen | good
        out[..., row, :] = level
    return out
