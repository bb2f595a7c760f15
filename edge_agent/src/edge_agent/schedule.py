"""When the next poll is due: on the wall clock's multiples of the period, whatever the wall clock does.

The wall clock says where in the period a poll lies, so that it meets the plant halfway between two of its
cycles; the monotonic clock says how long to wait. Setting the wall clock moves the next poll by half a period
at most: no hour without polls, no missed polls that never were.
"""

import math
import time
from collections.abc import Callable
from typing import Final

STEP_S_MIN: Final = 0.1  # a smaller difference is the clock being steered, or a busy machine
SLEW_MAX: Final = 0.0005  # Linux steers a clock by 500 ppm at most (adjtimex(2))
LOOKS_MAX: Final = 3  # at both clocks, where this thread was interrupted between them
LOOK_S_MAX: Final = 0.001  # between the two looks; more of it would count as a step

Now = Callable[[], float]  # seconds


class PollSchedule:
    """The polls' due times: `wait_s` until the next, `begin` it, `end` it."""

    def __init__(self, period_s: float, wall: Now = time.time, monotonic: Now = time.monotonic) -> None:
        self._period_s = period_s
        self._wall, self._monotonic = wall, monotonic
        self._offset, self._offset_at = self._clocks()
        self._last = self._offset_at - period_s / 2  # so that the first is the next multiple
        self._step_s = 0.0

    def wait_s(self) -> float:
        """Seconds until the next poll is due; 0 when it is."""
        return max(0.0, self._due() - self._monotonic())

    def begin(self) -> tuple[float, int]:
        """The poll begins: how late it is, in seconds, and how many were due before it and never began."""
        due, now = self._due(), self._monotonic()
        missed = max(0, int((now - due) / self._period_s))
        self._last = due + missed * self._period_s
        return now - self._last, missed

    def end(self) -> int:
        """The poll has ended: how many became due meanwhile. They are left out, never made up for."""
        due, now = self._due(), self._monotonic()
        missed = 0 if now < due else int((now - due) / self._period_s) + 1
        self._last += missed * self._period_s
        return missed

    def take_step_s(self) -> float:
        """By how much the wall clock was set since last asked, back when negative; 0 if it was not."""
        step, self._step_s = self._step_s, 0.0
        return step

    def _due(self) -> float:
        """The wall clock's multiple nearest to a period after the last poll, on the monotonic clock."""
        self._look_at_the_clocks()
        earliest = self._last + self._period_s / 2
        return math.ceil((earliest + self._offset) / self._period_s) * self._period_s - self._offset

    def _look_at_the_clocks(self) -> None:
        offset, now = self._clocks()
        step = offset - self._offset
        if abs(step) > STEP_S_MIN + SLEW_MAX * (now - self._offset_at):
            self._step_s += step
        self._offset, self._offset_at = offset, now

    def _clocks(self) -> tuple[float, float]:
        """The wall clock minus the monotonic one, and the monotonic one."""
        for _ in range(LOOKS_MAX):
            before, wall, after = self._monotonic(), self._wall(), self._monotonic()
            if after - before < LOOK_S_MAX:
                break
        return wall - after, after
