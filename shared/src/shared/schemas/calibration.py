"""By how much a model's interval must grow, or may shrink, to cover what it says it covers."""

from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from shared.schemas.base import Frozen

HORIZON_FRACTION = 0.95  # of the horizon: an end this far off says only "further than can be told"

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """Ends and median of one or many RULs, in cycles: `0 <= low <= median <= high <= horizon`."""

    low: Floats
    median: Floats
    high: Floats


class CalibrationBin(Frozen):
    """Predicted medians below `upper_cycles` and not below the bin before.

    `margin_cycles` is subtracted from the low end and added to the high one; below 0 it narrows.
    `units` had windows in the bin: what the margin rests on.
    """

    upper_cycles: float = Field(gt=0)
    margin_cycles: float
    units: int = Field(ge=1)


class Calibration(Frozen):
    """Conformal margins by predicted median; made by `control_plane.training.conformal.calibrate`.

    `coverage` is the share of units whose RUL, capped at `horizon_cycles`, the widened interval is to hold.
    """

    coverage: float = Field(gt=0, lt=1)
    horizon_cycles: float = Field(gt=0)
    bins: tuple[CalibrationBin, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _covers_every_prediction(self) -> Self:
        edges = [each.upper_cycles for each in self.bins]
        if any(a >= b for a, b in pairwise(edges)) or edges[-1] != self.horizon_cycles:
            raise ValueError(f"bins end at {edges}; they must rise and end at {self.horizon_cycles:g}")
        return self

    def widen(self, low: ArrayLike, median: ArrayLike, high: ArrayLike) -> Interval:
        """The calibrated interval for numbers or arrays of one shape, cycles; the median stays.

        An upper end within the last twentieth of the horizon is taken as the horizon and never narrowed:
        the truth may lie anywhere beyond.
        """
        ends = np.asarray([low, median, high], np.float64).clip(0.0, self.horizon_cycles)
        bins = np.array([(each.upper_cycles, each.margin_cycles) for each in self.bins])
        margin = bins[bins[:-1, 0].searchsorted(ends[1], side="right"), 1]
        is_open = ends[2] >= HORIZON_FRACTION * self.horizon_cycles
        above = np.where(is_open, self.horizon_cycles, ends[2] + margin)
        return Interval(
            np.minimum(np.maximum(ends[0] - margin, 0.0), ends[1]),
            ends[1],
            np.minimum(np.maximum(above, ends[1]), self.horizon_cycles),
        )
