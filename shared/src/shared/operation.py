"""Which rows of a window the component ran in: one that stands still shows no wear, and looks healthy. Pure.

It stands still in a row in which every operating tag that has a number is below its least value
(`Manifest.operating`): one transmitter that fails low is no standstill.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from shared.features import FeatureSpec
from shared.window_buffer import MIN_CYCLES

NOT_RUNNING = "not_running"
STARTING_UP = "starting_up"  # it runs again, and the window has too few rows in which it did
STANDSTILL = (NOT_RUNNING, STARTING_UP)

Floats = NDArray[np.float32]
Bits = NDArray[np.bool_]


def rows_in_operation(values: Floats, operating: Mapping[str, float], spec: FeatureSpec) -> Floats:
    """The same raw rows `(..., T)` with what was read at a standstill taken as not read."""
    if not operating:
        return values
    still, _ = _stands_still(values, operating, spec)
    return np.where(still[..., np.newaxis], np.float32(np.nan), values) if still.any() else values


def standstills(values: Floats, operating: Mapping[str, float], spec: FeatureSpec) -> list[str | None]:
    """For each raw window `(N, W, T)` why there is nothing to say of it but a standstill, or None."""
    found: list[str | None] = [None] * len(values)
    if not operating:
        return found
    still, told = _stands_still(values, operating, spec)
    if not still.any():
        return found
    windows, rows = told.shape
    newest = rows - 1 - np.argmax(told[:, ::-1], axis=1)  # a row without a number says nothing
    stopped = still[np.arange(windows), newest]
    ran = (np.isfinite(values).any(axis=-1) & ~still).sum(axis=1)
    for number in np.flatnonzero(still.any(axis=1)).tolist():
        if stopped[number]:
            found[number] = NOT_RUNNING
        elif ran[number] < min(MIN_CYCLES, rows):
            found[number] = STARTING_UP
    return found


def _stands_still(values: Floats, operating: Mapping[str, float], spec: FeatureSpec) -> tuple[Bits, Bits]:
    """For each row whether it stands still, and whether an operating tag has a number there."""
    here = values[..., [spec.tags.index(tag) for tag in operating]]
    told: Bits = np.isfinite(here).any(axis=-1)
    runs: Bits = (here >= np.array([*operating.values()], np.float32)).any(axis=-1)  # NaN is not
    return told & ~runs, told
