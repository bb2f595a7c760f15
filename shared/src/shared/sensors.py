"""Whether a window's numbers can be what the sensors saw. Asked before anything a model says. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.schemas import Manifest

MISSING_FRACTION_MAX = 0.5  # of a window's filled rows, for any one tag: beyond it the sensor is invalid
STUCK_ROWS_MIN = 10  # good rows of one value before a sensor that always moves counts as stuck
NO_READING = "no_reading"


Floats = NDArray[np.float32]
Bits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sensors:
    """`N` windows of `T` tags: values missing `(N, T)` of `filled` rows `(N,)`; stuck or not `(N, T)`.

    Padding, rows without any good value, does not count as filled.
    """

    missing: NDArray[np.intp]
    filled: NDArray[np.intp]
    stuck: Bits

    def missing_by_tag(self, window: int, tags: Sequence[str]) -> dict[str, int]:
        """Values of one window with bad quality by tag, tags without any left out."""
        counts = self.missing[window]
        return {tags[tag]: int(counts[tag]) for tag in np.flatnonzero(counts).tolist()}

    def troubles(self, tags: Sequence[str]) -> list[str | None]:
        """For each window why its numbers are not to be believed; None where they may be."""
        invalid = self.missing > MISSING_FRACTION_MAX * self.filled[:, np.newaxis]
        found: list[str | None] = [None] * len(self.filled)
        for window in np.flatnonzero((self.filled == 0) | (invalid | self.stuck).any(axis=1)).tolist():
            found[window] = self._trouble(window, tags, invalid)
        return found

    def _trouble(self, window: int, tags: Sequence[str], invalid: Bits) -> str:
        if not self.filled[window]:
            return NO_READING
        if invalid[window].any():
            return f"sensor_invalid:{tags[int(np.argmax(self.missing[window]))]}"
        return f"sensor_stuck:{tags[int(np.argmax(self.stuck[window]))]}"


def look_at(values: Floats, manifest: Manifest) -> Sensors:
    """Judge raw windows `(N, W, T)`; stuck are only tags that never stood still in training."""
    count, rows, tags = values.shape
    present = np.isfinite(values)
    window, row, tag = np.nonzero(~present)
    by_row = np.bincount(window * rows + row, minlength=count * rows).reshape(count, rows)
    by_tag = np.bincount(window * tags + tag, minlength=count * tags).reshape(count, tags)
    padding = (by_row == tags).sum(axis=1)
    return Sensors(by_tag - padding[:, np.newaxis], rows - padding, _stuck(values, present, manifest))


def _stuck(values: Floats, present: Bits, manifest: Manifest) -> Bits:
    """`(N, T)`; what differs in the two newest rows is not looked at twice."""
    references = [manifest.references.get(tag) for tag in manifest.feature_spec.tags]
    moves = np.array([each is not None and not each.stands_still for each in references])
    last, before = values[:, -1], values[:, -2]
    stuck: Bits = moves & ((last == before) | ~(present[:, -1] & present[:, -2]))
    window, tag = np.nonzero(stuck)
    if len(window):
        found, good = values[window, :, tag], present[window, :, tag]
        low, high = np.where(good, found, np.inf).min(axis=1), np.where(good, found, -np.inf).max(axis=1)
        stuck[window, tag] = (low == high) & (good.sum(axis=1) >= STUCK_ROWS_MIN)
    return stuck
