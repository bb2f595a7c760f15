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
    sound: bool  # nothing missing, nothing stuck: as of most

    def missing_by_tag(self, tags: Sequence[str]) -> list[dict[str, int]]:
        """For each window how many values have bad quality by tag, tags without any left out."""
        found: list[dict[str, int]] = [{} for _ in self.filled]
        for window, tag in () if self.sound else np.argwhere(self.missing).tolist():
            found[window][tags[tag]] = int(self.missing[window, tag])
        return found

    def troubles(self, tags: Sequence[str]) -> list[str | None]:
        """For each window why its numbers are not to be believed; None where they may be."""
        found: list[str | None] = [None] * len(self.filled)
        if self.sound:
            return found
        invalid = self.missing > MISSING_FRACTION_MAX * self.filled[:, np.newaxis]
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
    if present.all():  # as of most, who need not wait for what follows
        none = np.zeros((count, tags), np.intp)
        stuck = _stuck(values, present, manifest)
        return Sensors(none, np.full(count, rows), stuck, sound=not stuck.any())
    row, tag = np.divmod(np.flatnonzero(~present), tags)  # rows of all windows, one after the other
    missing = np.bincount(row // rows * tags + tag, minlength=count * tags).reshape(count, tags)
    empty = np.flatnonzero(np.bincount(row) == tags)
    padding = np.bincount(empty // rows, minlength=count)
    return Sensors(
        missing - padding[:, np.newaxis], rows - padding, _stuck(values, present, manifest), sound=False
    )


def _stuck(values: Floats, present: Bits, manifest: Manifest) -> Bits:
    """`(N, T)`; what differs in the two newest rows is not looked at twice."""
    known = manifest.references
    if not known:
        return np.zeros((len(values), values.shape[2]), np.bool_)
    moves = np.array([tag in known and not known[tag].stands_still for tag in manifest.feature_spec.tags])
    same = values[:, -1] == values[:, -2]
    stuck: Bits = moves & (same | ~(present[:, -1] & present[:, -2]))
    if stuck.any():
        window, tag = stuck.nonzero()
        found, good = values[window, :, tag], present[window, :, tag]
        low = np.minimum.reduce(found, axis=1, where=good, initial=np.inf)
        high = np.maximum.reduce(found, axis=1, where=good, initial=-np.inf)
        stuck[window, tag] = (low == high) & (good.sum(axis=1) >= STUCK_ROWS_MIN)
    return stuck
