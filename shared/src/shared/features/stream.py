"""Features as the rows come in, in the bits of the batch."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared.features.spec import FeatureSpec
from shared.features.windows import window_features

Floats = NDArray[np.float32]


class FeatureStream:
    """The last W rows of one component. Pure: no clock, no I/O.

    The caller pushes one row a cycle; a cycle that was missed is a row of NaN.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        self.spec = spec
        self._rows = np.full((2 * spec.window_cycles, len(spec.tags)), np.nan, np.float32)
        self._end = spec.window_cycles

    def push(self, row: ArrayLike) -> Floats:
        """`(S, F)` features of the window that ends with this row `(T,)`, NaN where bad.

        With `steps=1` they are that row of `history_features`. ValueError when the row has other tags.
        """
        values = np.asarray(row)
        if values.shape != (len(self.spec.tags),) or values.dtype.kind not in "fiu":
            raise ValueError(
                f"found a row of shape {values.shape} and type {values.dtype}; {self.spec.component_type}"
                f" has {len(self.spec.tags)} numbers: {', '.join(self.spec.tags)}"
            )
        if self._end == len(self._rows):
            self._end = self.spec.window_cycles
            self._rows[: self._end] = self._rows[self._end :]
        with np.errstate(over="ignore"):  # beyond float32 is infinite, and so missing
            self._rows[self._end] = values
        self._end += 1
        return window_features(self._rows[self._end - self.spec.window_cycles : self._end], self.spec)
