"""However many ask, one load at a time, in a thread, its answer shared for a moment."""

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Keeps one answer of `load` for `fresh_for_s` seconds; those who ask meanwhile wait for the same one.

    A caller that is cancelled leaves the load running for the others. What `load` raises, all get.
    """

    def __init__(self, load: Callable[[], T], fresh_for_s: float) -> None:
        self._load = load
        self._fresh_for_s = fresh_for_s
        self._flight: asyncio.Task[T] | None = None
        self._landed_s = 0.0

    async def get(self) -> T:
        """The answer, at most `fresh_for_s` old."""
        if self._flight is None or (self._flight.done() and self._expired()):
            self._flight = asyncio.create_task(self._fly())
        return await asyncio.shield(self._flight)

    def _expired(self) -> bool:
        return time.monotonic() - self._landed_s >= self._fresh_for_s

    async def _fly(self) -> T:
        try:
            return await asyncio.to_thread(self._load)
        finally:
            self._landed_s = time.monotonic()
