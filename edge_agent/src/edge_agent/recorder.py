"""Records and what goes on the record, made durable together."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import structlog

from edge_agent.audit import AuditLog
from edge_agent.health import Metrics
from edge_agent.outbox import Incident, Loss, Outbox, Replaced
from shared.errors import Retryable
from shared.log_key import LogKey
from shared.schemas import Alert, AuditEntry, AuditEvent, Outgoing, Prediction, Record, utc_now

ALERTS_OWED_MAX = 1_000  # that wait for the disk; the oldest beyond it are lost like other records

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
        self._unkept: Loss | None = None
        self._owed: list[Alert] = []  # that the disk would not take: an alert is not given up for that
        self._owed_notes: dict[str, str] = {}
        self._notes: dict[str, str] = {}  # as they are kept, for a file that has to be begun anew
        self._behind = True  # the log here may not be the one that is committed
        self.failing: str | None = None
        self.log = AuditLog(site_id, key)

    async def open(self) -> None:
        """Take the audit log up where it is committed; where the outbox cannot be opened, later."""
        with suppress(Retryable):
            await self._catch_up()

    async def _catch_up(self) -> None:
        self.log = AuditLog(self._site_id, self._key, start=await self._outbox.audit_log())
        self._behind = False

    async def notes(self) -> dict[str, str]:
        """What was noted before, by name; Retryable while the outbox cannot be read."""
        self._notes = await self._outbox.notes()
        return dict(self._notes)

    async def keep(
        self, records: Sequence[Record], events: Sequence[Event] = (), notes: Mapping[str, str] | None = None
    ) -> None:
        """Commit, with the notes that say what came of it; when the disk will not take it, say so, go on,
        and put the loss on the record later. Alerts and notes are not lost: they go with the next commit.
        """
        async with self._lock:
            noted = self._owed_notes | dict(notes or {})
            try:
                try:
                    await self._keep([*self._owed, *records], events, noted)
                except Replaced as replaced:
                    log.error("outbox replaced", reason=str(replaced))
                    await self._keep([*self._owed, *records], events, self._notes | noted)
                self._notes |= noted
                self._owed, self._owed_notes = [], {}
                self._tell_if_over()
            except Retryable as error:
                self._not_kept(records, events, noted)
                if self.failing is None:
                    log.error("not kept, until the outbox takes records again", reason=str(error))
                self.failing = str(error)
                self._metrics.commit_failures.inc()

    def _not_kept(self, records: Sequence[Record], events: Sequence[Event], noted: dict[str, str]) -> None:
        owed = [*self._owed, *(record for record in records if isinstance(record, Alert))]
        lost: list[Record] = [record for record in records if not isinstance(record, Alert)]
        lost += owed[:-ALERTS_OWED_MAX]
        self._unkept = _counted(self._unkept or Loss(self._site_id), lost, events)
        self._owed, self._owed_notes = owed[-ALERTS_OWED_MAX:], noted

    def _tell_if_over(self) -> None:
        """One line for all that was not kept, once something is kept again."""
        if self._unkept is not None:
            log.warning("kept again", lost_records=sum(self._unkept.by_schema.values()))
        self._unkept, self.failing = None, None

    async def _keep(
        self, records: Sequence[Record], events: Sequence[Event], notes: Mapping[str, str]
    ) -> None:
        if self._behind:
            await self._catch_up()
        incidents = await self._outbox.incidents(self._site_id) if self._outbox.has_incidents else []
        for incident in incidents:
            log.error("rows of the outbox were damaged", **incident.told)
        now = utc_now()
        entries = [
            self.log.append(e.event, e.subject, now, prediction=e.prediction, detail=e.detail)
            for e in (*self._own_events(incidents), *events)
        ]
        gaps = [gap for incident in incidents for gap in incident.gaps]
        rows = [record.outgoing() for record in (*gaps, *records, *entries)]
        await self._commit(rows, [incident.number for incident in incidents], notes)

    def _own_events(self, incidents: Sequence[Incident]) -> list[Event]:
        """What befell the record itself."""
        found = [Event(AuditEvent.OUTBOX_REPLACED, self._site_id, detail=i.told) for i in incidents]
        if self._unkept is not None:
            lost = sum(self._unkept.by_schema.values())
            found.append(Event(AuditEvent.AUDIT_FAILURE, self._site_id, detail={"records": lost}))
        return found

    async def _commit(self, rows: list[Outgoing], settled: Sequence[int], notes: Mapping[str, str]) -> None:
        """Wait for the disk's answer even when cancelled: log and outbox must not come to differ."""
        self._behind = True  # entries that did not become durable were never there
        commit = asyncio.ensure_future(self._outbox.commit(rows, self._unkept, settled, notes))
        try:
            await asyncio.shield(commit)
        finally:
            await asyncio.wait([commit])
            self._behind = commit.exception() is not None

    async def checkpoint(self) -> None:
        """Sign how long the log is now, and send it with the records."""
        async with self._lock:
            with suppress(Retryable):  # the next one says more
                if self._behind:
                    await self._catch_up()
                note = self.log.checkpoint(utc_now())
                await self._outbox.commit([note.outgoing()])


def _counted(loss: Loss, records: Sequence[Record], events: Sequence[Event]) -> Loss:
    """`loss` with these records and the audit entries of these events."""
    for record in records:
        time_ms = int(record.timestamp.timestamp() * 1000)
        loss.count(record.SCHEMA, 1, time_ms, time_ms)
    now_ms = int(utc_now().timestamp() * 1000)
    if events:
        loss.count(AuditEntry.SCHEMA, len(events), now_ms, now_ms)
    return loss
