"""The last cycles of one component."""

from collections import deque

import numpy as np

from shared.features import FeatureSpec
from shared.schemas import ComponentId, Telemetry, Window

MIN_CYCLES = 10  # readings before the first score; fewer cannot tell a change from noise


class WindowBuffer:
    """Takes readings in order; gives the window that ends with the newest."""

    def __init__(self, component: ComponentId, component_type: str, spec: FeatureSpec) -> None:
        self.spec = spec
        self._component, self._type = component, component_type
        self._rows: deque[list[float]] = deque(maxlen=spec.window_cycles)
        self._cycle: int | None = None
        self._readings = 0

    def copy(self) -> "WindowBuffer":
        """One that goes on by itself from the same cycles."""
        other = WindowBuffer(self._component, self._type, self.spec)
        other._rows.extend(self._rows)  # rows are never changed
        other._cycle, other._readings = self._cycle, self._readings
        return other

    def push(self, telemetry: Telemetry) -> Window | None:
        """The window that ends with this reading; None while there are too few, or it has no number.

        Missed cycles become empty rows; a counter that went back is a plant that began again.
        """
        if telemetry.cycle is None and not telemetry.metrics:
            return None  # the poll failed: its cycle, if there was one, is counted as missed by the next
        self._make_room(telemetry.cycle)
        self._rows.append([telemetry.metrics.get(tag, np.nan) for tag in self.spec.tags])
        self._readings += 1
        if self._readings < MIN_CYCLES or not telemetry.metrics:
            return None
        values = np.full((self.spec.window_cycles, len(self.spec.tags)), np.nan, np.float32)
        values[-len(self._rows) :] = self._rows
        return Window(
            self._component, self._type, telemetry.cycle, telemetry.timestamp, self.spec.tags, values
        )

    def _make_room(self, cycle: int | None) -> None:
        if cycle is None:
            return
        if self._cycle is not None and cycle <= self._cycle:
            self._rows.clear()
            self._readings = 0
        elif self._cycle is not None:
            missed = min(cycle - self._cycle - 1, self.spec.window_cycles)
            self._rows.extend([[np.nan] * len(self.spec.tags)] * missed)
        self._cycle = cycle
