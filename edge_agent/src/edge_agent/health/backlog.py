"""What waits for Kafka: how much, how old, and for how long it has not moved."""

import time
from collections.abc import Callable
from typing import Protocol

from edge_agent.health.metrics import Followed, Metrics


class OutboxStats(Protocol):
    """What the outbox says of itself; `oldest_ms` is the source time of the oldest pending row, or None."""

    @property
    def pending_rows(self) -> int: ...
    @property
    def pending_bytes(self) -> int: ...
    @property
    def oldest_ms(self) -> int | None: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def given_up_rows(self) -> int: ...


class BacklogWatch:
    """Keeps the newest numbers, for the metrics and for whoever judges them."""

    def __init__(
        self,
        metrics: Metrics,
        rows_max: int,
        bytes_max: int,
        wall: Callable[[], float] = time.time,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics, self._wall, self._now = metrics, wall, now
        self._delivered, self._dead = Followed(metrics.delivered), Followed(metrics.dead_letters)
        self._dropped = Followed(metrics.outbox_dropped)
        self._moved_at, self._moved_to = now(), 0
        self._rows_max, self._bytes_max = rows_max, bytes_max
        metrics.outbox_rows_max.set(rows_max)
        self.rows = self._bytes = 0
        self.oldest_s = self.stalled_s = 0.0

    @property
    def share(self) -> float:
        """Of the bound at which rows give way, in rows or in bytes, whichever is nearer."""
        return max(self.rows / self._rows_max, self._bytes / self._bytes_max)

    def see(self, stats: OutboxStats, delivered: int, dead_lettered: int) -> None:
        """The outbox and the forwarder's totals are these now."""
        if delivered != self._moved_to or not stats.pending_rows:
            self._moved_at, self._moved_to = self._now(), delivered
        self.rows, self._bytes = stats.pending_rows, stats.pending_bytes
        self.stalled_s = self._now() - self._moved_at
        self.oldest_s = max(0.0, self._wall() - stats.oldest_ms / 1000) if stats.oldest_ms else 0.0
        self._delivered.to(delivered)
        self._dead.to(dead_lettered)
        self._dropped.to(stats.given_up_rows)
        self._metrics.outbox_rows.set(self.rows)
        self._metrics.outbox_bytes.set(stats.size_bytes)
        self._metrics.outbox_age.set(self.oldest_s)
        self._metrics.forward_stalled.set(self.stalled_s)
