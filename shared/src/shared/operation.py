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
STARTING_UP = "starting_up"  # it runs again; for most of the window it did not, or in too few rows
STANDSTILL = (NOT_RUNNING, STARTING_UP)

Floats = NDArray[np.float32]
Bits = NDArray[np.bool_]


def rows_in_operation(values: Floats, operating: Mapping[str, float], spec: FeatureSpec) -> Floats:
    """The same raw rows `(..., T)` with what was read at a standstill taken as not read."""
    still = _stands_still(values, operating, spec)
    return values if still is None else np.where(still[..., np.newaxis], np.float32(np.nan), values)


def standstills(values: Floats, operating: Mapping[str, float], spec: FeatureSpec) -> list[str | None]:
    """For each raw window `(N, W, T)` why there is nothing to say of it but a standstill, or None."""
    found: list[str | None] = [None] * len(values)
    still = _stands_still(values, operating, spec)
    if still is None:
        return found
    windows, rows = still.shape
    tags = [spec.tags.index(tag) for tag in operating]
    told = np.asarray(np.isfinite(values[..., tags]).any(axis=-1))
    newest = rows - 1 - np.argmax(told[:, ::-1], axis=1)  # a row without a number says nothing
    stopped = still[np.arange(windows), newest]
    ran = (np.isfinite(values).any(axis=-1) & ~still).sum(axis=1)
    enough = np.maximum(min(MIN_CYCLES, rows), still.sum(axis=1))
    for number in np.flatnonzero(still.any(axis=1)).tolist():
        if stopped[number]:
            found[number] = NOT_RUNNING
        elif ran[number] < enough[number]:
            found[number] = STARTING_UP
    return found


def _stands_still(values: Floats, operating: Mapping[str, float], spec: FeatureSpec) -> Bits | None:
    """For each row of `(..., T)` whether it stands still; None where none does, as in most windows."""
    if not operating:
        return None
    tags, least = [spec.tags.index(tag) for tag in operating], [*operating.values()]
    if (values[..., tags[0]] >= least[0]).all():
        return None
    here = values[..., tags]
    runs = (here >= np.array(least, np.float32)).any(axis=-1)  # what has no number says nothing
    still: Bits = np.asarray(np.isfinite(here).any(axis=-1) & ~runs)
    return still if still.any() else None
