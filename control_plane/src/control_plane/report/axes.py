"""Scales of a plot: where a number lies, and which round numbers and times stand beside the axis. Pure."""

import math
from datetime import UTC, datetime
from typing import NamedTuple

TICKS_WANTED = 4  # of a value axis of 150 pixels: lines one can still tell apart
TIMES_WANTED = 6
_S, _MIN, _H, _D = 1_000, 60_000, 3_600_000, 86_400_000
_TIME_STEPS_MS = [
    *(n * _S for n in (1, 5, 10, 30)),
    *(n * _MIN for n in (1, 5, 10, 30)),
    *(n * _H for n in (1, 3, 6, 12)),
    *(n * _D for n in (1, 2, 7, 14, 30, 90, 180, 365, 730)),
]
_FORMATS = ((_MIN, "%H:%M:%S"), (_D, "%H:%M"), (90 * _D, "%d %b"), (math.inf, "%b %Y"))  # for steps below


class Scale(NamedTuple):
    """From `low` to `high` onto `start` to `end`, in pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where the value lies."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def round_ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten that enclose the values; at least two."""
    if not high > low:
        low, high = low - max(1.0, abs(low) / 10), high + max(1.0, abs(high) / 10)
    rough = (high - low) / TICKS_WANTED
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(first, max(last, first + 1) + 1)]


def time_ticks(start_ms: int, end_ms: int) -> list[tuple[int, str]]:
    """Round times within the span (UTC), each as it is written; a span over midnight says the day there."""
    step = next((s for s in _TIME_STEPS_MS if (end_ms - start_ms) / s <= TIMES_WANTED), 3_650 * _D)
    shape = next(text for below, text in _FORMATS if step < below)
    return [(t, _written(t, shape)) for t in range(-(-start_ms // step) * step, end_ms + 1, step)]


def _written(time_ms: int, shape: str) -> str:
    time = datetime.fromtimestamp(time_ms / 1000, UTC)
    return time.strftime("%d %b" if shape.startswith("%H") and time_ms % _D == 0 else shape)


def plain(value: float) -> str:
    """As few digits as say it."""
    return f"{value:.10g}".replace("-", "\N{MINUS SIGN}")
