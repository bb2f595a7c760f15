"""Records and what goes on the record, made durable together."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import structlog

from edge_agent.audit import AuditLog
from edge_agent.health import Metrics
from edge_agent.outbox import Outbox
from shared.errors import Retryable
from shared.log_key import LogKey
from shared.schemas import AuditEvent, Outgoing, Prediction, Record, utc_now

log = structlog.get_logger()

Detail = dict[str, str | int | float | bool]


class Event(NamedTuple):
    """Something for the audit log."""

    event: AuditEvent
    subject: str
    prediction: Prediction | None = None
    detail: Detail | None = None


class Recorder:
    """Makes records and their audit entries durable together, in one transaction."""

    def __init__(self, outbox: Outbox, site_id: str, key: LogKey, metrics: Metrics) -> None:
        self._outbox, self._site_id, self._key, self._metrics = outbox, site_id, key, metrics
        self._lock = asyncio.Lock()
        self._unkept = 0
        self.failing: str | None = None
        self.log: AuditLog

    async def open(self) -> None:
        """Rebuild the audit log from what the outbox holds."""
        self.log = AuditLog(self._site_id, self._key, await self._outbox.audit_leaves())

    async def keep(self, records: Sequence[Record], events: Sequence[Event] = ()) -> None:
        """Commit; when the disk will not take it, say so, go on, and put the loss on the record later."""
        async with self._lock:
            if self._unkept:
                lost = Event(AuditEvent.AUDIT_FAILURE, self._site_id, detail={"records": self._unkept})
                events = [lost, *events]
            now = utc_now()
            entries = [
                self.log.append(e.event, e.subject, now, prediction=e.prediction, detail=e.detail)
                for e in events
            ]
            try:
                await self._commit([r.outgoing() for r in (*records, *entries)])
                self._unkept, self.failing = 0, None
            except Retryable as error:
                self._unkept += len(records)
                self.failing = str(error)
                self._metrics.commit_failures.inc()
                log.error("not kept", records=len(records), reason=str(error))

    async def _commit(self, rows: list[Outgoing]) -> None:
        """Wait for the disk's answer even when cancelled: log and outbox must not come to differ."""
        commit = asyncio.ensure_future(self._outbox.commit(rows))
        try:
            await asyncio.shield(commit)
        finally:
            await asyncio.wait([commit])
            if commit.exception() is not None:
                await self.open()  # the entries that did not become durable were never there

    async def checkpoint(self) -> None:
        """Sign how long the log is now, and send it with the records."""
        async with self._lock:
            note = self.log.checkpoint(utc_now())
            with suppress(Retryable):  # the next one says more
                await self._outbox.commit([note.outgoing()])
