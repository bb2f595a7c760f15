"""The outbox as the agent uses it: one thread owns the file, everyone else asks it."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

from edge_agent.outbox.store import OutboxStore, Row, Stats
from shared.schemas import Outgoing

T = TypeVar("T")


class Outbox:
    """Async `commit` for the event loop; blocking `pending` and `acknowledge` for the forwarder's thread."""

    def __init__(self, store: OutboxStore) -> None:
        self._store = store
        self._thread: ThreadPoolExecutor

    async def __aenter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        await self._ask(self._store.__enter__)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._ask(self._store.__exit__)
        self._thread.shutdown()

    async def _ask(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.wrap_future(self._thread.submit(work, *arguments))

    @property
    def store_id(self) -> str:
        """The UUID made with the file."""
        return self._store.store_id

    async def commit(self, records: Sequence[Outgoing]) -> None:
        """Make `records` durable together; Retryable when the disk will not take them."""
        await self._ask(self._store.commit, records)

    async def stats(self) -> Stats:
        """How full it is now."""
        return await self._ask(self._store.stats)

    async def audit_leaves(self) -> list[bytes]:
        """The leaves of the site's log, in order."""
        return await self._ask(lambda: list(self._store.audit_leaves()))

    def pending(self, after_seq: int, limit: int, *, urgent: bool = False) -> list[Row]:
        """Blocking: the next rows not yet acknowledged, in order; with `urgent`, only what overtakes."""
        return self._thread.submit(self._store.pending, after_seq, limit, urgent=urgent).result()

    def acknowledge(self, seqs: Sequence[int]) -> None:
        """Blocking: Kafka has these rows."""
        self._thread.submit(self._store.acknowledge, seqs).result()
