"""Whether a window's numbers can be what the sensors saw. Asked before anything a model says. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.schemas import Manifest

MISSING_FRACTION_MAX = 0.5  # of a window's filled rows, for any one tag: beyond it the sensor is invalid
STUCK_ROWS_MIN = 10  # good rows of one value before a sensor that always moves counts as stuck
NO_READING = "no_reading"


@dataclass(frozen=True, slots=True)
class Sensors:
    """`N` windows of `T` tags: values missing `(N, T)` of `filled` rows `(N,)`; stuck or not `(N, T)`.

    Padding, rows without any good value, does not count as filled.
    """

    missing: NDArray[np.intp]
    filled: NDArray[np.intp]
    stuck: NDArray[np.bool_]

    def missing_by_tag(self, tags: Sequence[str]) -> list[dict[str, int]]:
        """For each window the values with bad quality by tag, tags without any left out."""
        if not self.missing.any():
            return [{} for _ in self.missing]
        return [{tag: n for tag, n in zip(tags, row, strict=True) if n} for row in self.missing.tolist()]

    def troubles(self, tags: Sequence[str]) -> list[str | None]:
        """For each window why its numbers are not to be believed; None where they may be."""
        invalid = self.missing > MISSING_FRACTION_MAX * self.filled[:, np.newaxis]
        troubled = (self.filled == 0) | invalid.any(axis=1) | self.stuck.any(axis=1)
        return [self._trouble(n, tags, invalid) if bad else None for n, bad in enumerate(troubled.tolist())]

    def _trouble(self, window: int, tags: Sequence[str], invalid: NDArray[np.bool_]) -> str:
        if not self.filled[window]:
            return NO_READING
        if invalid[window].any():
            return f"sensor_invalid:{tags[int(np.argmax(self.missing[window]))]}"
        return f"sensor_stuck:{tags[int(np.argmax(self.stuck[window]))]}"


def look_at(values: NDArray[np.float32], manifest: Manifest) -> Sensors:
    """Judge raw windows `(N, W, T)`; stuck are only tags that never stood still in training."""
    present = np.isfinite(values)
    good = present.sum(axis=1)
    filled = present.any(axis=2).sum(axis=1)
    stuck = np.zeros(good.shape, bool)
    references = [manifest.references.get(tag) for tag in manifest.feature_spec.tags]
    moving = [i for i, each in enumerate(references) if each is not None and not each.stands_still]
    if moving:
        chosen = values if len(moving) == len(references) else values[..., moving]
        one_value = np.fmax.reduce(chosen, axis=1) == np.fmin.reduce(chosen, axis=1)
        stuck[:, moving] = one_value & (good[:, moving] >= STUCK_ROWS_MIN)
    return Sensors(filled[:, np.newaxis] - good, filled, stuck)
