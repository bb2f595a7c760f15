"""The outbox as the agent uses it: one thread owns the file, everyone else asks it."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

from edge_agent.outbox.gaps import Loss
from edge_agent.outbox.rows import Row
from edge_agent.outbox.store import Incident, OutboxStore, Stats
from shared.merkle import Frontier
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

    @property
    def has_incidents(self) -> bool:
        """Whether something befell rows that is not on the record yet."""
        return self._store.has_incidents

    async def commit(
        self,
        records: Sequence[Outgoing],
        unkept: Loss | None = None,
        settled: Collection[int] = (),
        notes: Mapping[str, str] | None = None,
    ) -> None:
        """Make `records` durable together; Retryable when the disk will not take them.

        `unkept`, `settled` and `notes` as for `OutboxStore.commit`.
        """
        await self._ask(self._store.commit, records, unkept, settled, notes)

    async def notes(self) -> dict[str, str]:
        """The notes that are kept beside the records."""
        return await self._ask(self._store.notes)

    async def incidents(self, site_id: str) -> list[Incident]:
        """What befell rows and is not on the record yet."""
        return await self._ask(self._store.incidents, site_id)

    async def stats(self) -> Stats:
        """How full it is now."""
        return await self._ask(self._store.stats)

    async def audit_log(self) -> Frontier:
        """The site's log as it is committed."""
        return await self._ask(self._store.audit_log)

    async def audit_leaves(self) -> list[bytes]:
        """The newest leaves of the site's log, in order."""
        return await self._ask(lambda: list(self._store.audit_leaves()))

    def pending(self, after_seq: int, limit: int, *, urgent: bool = False) -> list[Row]:
        """Blocking: the next rows not yet acknowledged, in order; with `urgent`, only what overtakes."""
        return self._thread.submit(self._store.pending, after_seq, limit, urgent=urgent).result()

    def acknowledge(self, seqs: Sequence[int]) -> None:
        """Blocking: Kafka has these rows."""
        self._thread.submit(self._store.acknowledge, seqs).result()
