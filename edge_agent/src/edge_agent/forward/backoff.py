"""Waits that grow, each drawn at random so that a fleet does not come back all at once."""

import random


class Backoff:
    """Doubles from `first_s` to `max_s`; a wait is between half of that and all of it."""

    def __init__(self, first_s: float, max_s: float) -> None:
        self._first_s, self._max_s = first_s, max_s
        self._next_s = first_s

    def wait_s(self) -> float:
        """The next wait, in seconds."""
        drawn = self._next_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
        self._next_s = min(self._max_s, 2 * self._next_s)
        return drawn

    def reset(self) -> None:
        """It worked: the next wait is the first again."""
        self._next_s = self._first_s
