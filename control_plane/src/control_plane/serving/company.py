"""How many windows a run waits for: as many as lately came together, and none where a caller is alone.

`grpc.aio` takes one call after the other from its queue, by way of a thread of its own. Callers of the same
moment so reach the engine one after the other, and a run that begins with the first has it alone. Whoever
waits has to sleep: while the loop spins, that thread does not get the interpreter. How many there are is
found out by a longer wait now and then.
"""

from shared.onnx_model import BLOCK_WINDOWS

PAUSE_S = 0.001  # the least that a loop's timers can do
QUIET_PAUSES = 3  # without a newcomer, then the run begins: in one of them the loop may have been busy
TRIED_EVERY = 100  # runs: what a lone caller waits in vain is 30 us on average
CROWD_MAX = BLOCK_WINDOWS  # windows: more gain nothing by being run together
WORTH_MIN = 3  # windows: fewer are run one by one all the same


class Company:
    """Of one engine: `begin` with the first window, then ask `wait_s` until it says 0."""

    def __init__(self) -> None:
        self._crowd = 1
        self._runs = self._there = self._quiet = 0
        self._tries = False

    def begin(self) -> None:
        """A run is to be made."""
        self._runs += 1
        self._tries = self._runs % TRIED_EVERY == 0
        self._there = self._quiet = 0

    def complete(self, there: int) -> bool:
        """Whether nobody is worth waiting for, with so many windows there."""
        known = not self._tries and (there >= self._crowd or self._crowd < WORTH_MIN)
        return known or there >= CROWD_MAX

    def wait_s(self, there: int) -> float:
        """Seconds to wait for another window, with so many there; 0 when the run is to begin."""
        self._quiet = self._quiet + 1 if there == self._there else 0
        if self.complete(there) or self._quiet == QUIET_PAUSES:
            self._crowd = max(there, self._crowd // 2)
            return 0.0
        self._there = there
        return PAUSE_S
