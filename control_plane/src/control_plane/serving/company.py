"""How long a run waits for more windows: not at all, unless that has lately brought some.

`grpc.aio` takes one call after the other from its queue, a turn of the event loop and a hop to its own thread
each. Callers of the same moment so reach the engine one after the other, and a run that begins with the first
has it alone. Who waits for them pays where nobody comes: so it is tried now and then, and done while it pays.
"""

import time

QUIET_S_MAX = 0.000_2  # without a newcomer, then the run begins: some hops from thread to thread
TRIED_EVERY = 32  # runs: what a lone caller waits in vain is 6 us on average
LEARNED = 0.2  # weight of the newest wait in the share of those that brought somebody
PAYS_MIN = 0.3  # of the waits bring somebody: of 16 windows in one run each saves 60 us


class Company:
    """Of one engine: `begin` with the first window, then ask `expected` at each turn until it says no."""

    def __init__(self) -> None:
        self._pays, self._runs = 0.0, 0
        self._first = self._there = 0
        self._since = 0.0
        self._waits = False

    def begin(self) -> None:
        """A run is to be made."""
        self._runs += 1
        self._first = self._there = 0
        self._waits = self._pays >= PAYS_MIN or self._runs % TRIED_EVERY == 0

    def expected(self, there: int) -> bool:
        """Whether the run should wait for another turn, with so many windows there."""
        if not self._waits:
            return False
        now = time.monotonic()
        self._first = self._first or there
        if there > self._there:
            self._there, self._since = there, now
        if now - self._since < QUIET_S_MAX:
            return True
        self._pays += LEARNED * ((there > self._first) - self._pays)
        return False
