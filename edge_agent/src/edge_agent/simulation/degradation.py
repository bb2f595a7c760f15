"""How latent performance falls, and when it first reaches a threshold. Pure."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_agent.simulation.components import FloatArray


@dataclass(frozen=True, slots=True)
class Decay:
    """The law from `from_cycle` on, where performance is `from_performance`; `rate` is per cycle.

    Exponential: `p = p0 exp(-rate n)`; linear: `p = p0 - rate n`, not below 0 (PRD 1.2, 1.5).
    """

    kind: Literal["exponential", "linear"]
    rate: float
    from_cycle: int = 0
    from_performance: float = 1.0

    def performance(self, cycles: NDArray[np.int64]) -> FloatArray:
        """Latent performance, 0 to 1, at each of `cycles` (none before `from_cycle`)."""
        elapsed = self.rate * (cycles - self.from_cycle)
        if self.kind == "exponential":
            return np.asarray(self.from_performance * np.exp(-elapsed))
        return np.asarray(np.maximum(self.from_performance - elapsed, 0.0))

    def at(self, cycle: int) -> float:
        """Performance at one cycle, the same bits as `performance`."""
        return float(self.performance(np.array([cycle], dtype=np.int64))[0])

    def failure_cycle(self, threshold: float) -> int:
        """The first cycle at which performance is at or below `threshold` (first passage)."""
        if self.from_performance <= threshold:
            return self.from_cycle
        if self.kind == "exponential":
            estimate = math.log(self.from_performance / threshold) / self.rate
        else:
            estimate = (self.from_performance - threshold) / self.rate
        cycle = self.from_cycle + max(0, math.floor(estimate) - 1)  # rounding may be off by one
        while self.at(cycle) > threshold:
            cycle += 1
        return cycle
