"""Raw windows to features: mask, z-score by regime, smoothing, groups, last steps, in this order.

Every step is elementwise or a tree of fixed shape, so one window, a batch and a history give the same bits.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.features.groups import grouped
from shared.features.regimes import normalise
from shared.features.spec import FeatureSpec

VALUE_MAX = np.float32(1e38)  # in any unit: the difference of two is still finite in float32
BLOCK_VALUES = 32_768  # raw values at once: as float64 they stay in a core's second cache

Floats = NDArray[np.float32]
Bits = NDArray[np.bool_]


def window_features(values: Floats, spec: FeatureSpec) -> Floats:
    """Features of raw windows.

    `values`: float32 `(..., W, T)`, NaN where a value had bad quality, tags in the spec's order.
    Returns float32 `(..., S, F)` (`spec.shape`), finite, columns as `spec.columns` names them. A missing
    value repeats the last good one before it in the window; 0 before the first. docs/features.md has every
    group's formula. ValueError when the shape is not the spec's, or the values are not numbers.
    """
    expected = (spec.window_cycles, len(spec.tags))
    _check_numbers(values, spec)
    if values.shape[-2:] != expected:
        raise ValueError(
            f"found windows of {values.shape[-2:]} cycles x tags; {spec.component_type} has {expected}"
        )
    windows = values.reshape(-1, *expected)
    out = np.empty((len(windows), *spec.shape), np.float32)
    step = max(1, BLOCK_VALUES // (expected[0] * expected[1]))
    for start in range(0, len(windows), step):
        known, present = _masked(windows[start : start + step], spec)
        if spec.smoothing < 1:
            known = _smoothed(known, present, np.float32(spec.smoothing))
        grouped(known, present, spec, out[start : start + step])
    return out.reshape(*values.shape[:-2], *spec.shape)


def history_features(values: Floats, spec: FeatureSpec) -> Floats:
    """Features of every row of a history: those of the last row of the window that ends with it.

    `values`: float32 `(n, T)`, one row a cycle, a missed cycle all NaN. Returns float32 `(n, F)`, in the
    bits that `window_features` gives. `spec.steps` plays no part: a row has one row of features.
    ValueError when the tags are not the spec's, or the values are not numbers.
    """
    _check_numbers(values, spec)
    if values.ndim != 2 or values.shape[1] != len(spec.tags):
        raise ValueError(
            f"found a history of shape {values.shape}; {spec.component_type} has (rows, {len(spec.tags)})"
        )
    out = np.empty((len(values), spec.shape[1]), np.float32)
    rows, halo = max(spec.window_cycles, BLOCK_VALUES // len(spec.tags)), spec.window_cycles - 1
    padded = np.concatenate(
        [np.full((1, len(spec.tags)), np.nan, np.float32), values]
    )  # before the first row
    for start in range(0, len(values), rows):
        _rows(padded[max(0, start + 1 - halo) : start + 1 + rows], spec, out[start : start + rows])
    return out


def _rows(block: Floats, spec: FeatureSpec, out: Floats) -> None:
    """Features of the last rows of a part of a history that begins W - 1 rows early, or before its start."""
    known, present = _masked(block, spec)
    if spec.smoothing == 1:
        grouped(known, present, spec, out)
        return
    known, present = (_windows(part, spec.window_cycles)[-len(out) :] for part in (known, present))
    smoothed = _smoothed(known, present, np.float32(spec.smoothing))  # each window has its own start
    grouped(smoothed, present, spec, out[:, np.newaxis])


def _windows(rows: NDArray[Any], count: int) -> NDArray[Any]:
    """`(n, count, T)`: the window that ends with each row, nothing present before the first."""
    padded = np.concatenate([np.zeros((count - 1, rows.shape[1]), rows.dtype), rows])
    return np.lib.stride_tricks.sliding_window_view(padded, count, axis=0).swapaxes(-1, -2)


def _check_numbers(values: Floats, spec: FeatureSpec) -> None:
    if values.dtype.kind not in "fiu":
        raise ValueError(f"found values of type {values.dtype}; {spec.component_type} needs float32")


def _masked(values: Floats, spec: FeatureSpec) -> tuple[Floats, Bits]:
    """Values as float32, z-scores where the spec says so, 0 where not good; and which are good.

    Where all are good, they may be the caller's own, to be left as they are.
    """
    if values.dtype != np.float32:
        with np.errstate(over="ignore"):  # a float64 beyond float32 is infinite, and so missing
            values = values.astype(np.float32)
    present = np.abs(values) <= VALUE_MAX
    known = values
    if not present.all():
        known = values.copy()
        known.reshape(-1)[np.flatnonzero(~present)] = 0
    if spec.normalisation is None:
        return known, present
    return normalise(known, present, spec.normalisation, spec.tags)


def _smoothed(known: Floats, present: Bits, weight: np.float32) -> Floats:
    """Exponential average along the rows from the first good value on; a missing row repeats the last."""
    seen = np.logical_or.accumulate(present, axis=-2)
    weights = np.where(present, weight, np.float32(0))
    np.copyto(weights[..., 0, :], 1, where=present[..., 0, :])
    np.copyto(weights[..., 1:, :], 1, where=present[..., 1:, :] & ~seen[..., :-1, :])
    values, shares = (np.moveaxis(part, -2, 0) for part in (known, weights))
    out = np.empty(values.shape, np.float32)
    level = np.zeros(values.shape[1:], np.float32)
    for now, share, into in zip(values, shares, out, strict=True):
        np.subtract(now, level, out=into)
        into *= share
        into += level
        level = into
    return np.ascontiguousarray(np.moveaxis(out, 0, -2))
