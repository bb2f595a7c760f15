"""Where operators' requests meet the alarms of a running agent, between two polls.

Also here: alarms go on where an earlier run ended, and shelvings end when their time is over.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog
from pydantic import ValidationError

from edge_agent.alarms.requests import AlarmRequest, RequestSpool
from edge_agent.line import NOTE_PREFIX, Line, alert_event, note_name
from edge_agent.poller import Poller
from edge_agent.recorder import Recorder
from edge_agent.scoring import Shelf, cleared, read_note
from shared.errors import Rejected, Retryable
from shared.schemas import Alert, ComponentId, Severity, utc_now

LOOK_PERIOD_S: Final = 0.5  # at the folder of requests, and at the clock

log = structlog.get_logger()
Lines = Mapping[ComponentId, Line]


class AlarmDesk:
    """Resumes, answers, and lets shelvings expire; what comes of it is kept like a poll's records."""

    def __init__(self, spool: RequestSpool, poller: Poller, recorder: Recorder) -> None:
        self._spool, self._poller, self._recorder = spool, poller, recorder
        self._resumed = False

    async def resume(self) -> None:
        """Take the alarms up where they were noted; while the outbox cannot be read, later."""
        try:
            notes = await self._recorder.notes()
        except Retryable:
            return
        async with self._poller.lines() as lines:
            alerts: list[Alert] = []
            for name, note in notes.items():
                if name.startswith(NOTE_PREFIX):
                    alerts += _resume(lines, ComponentId.from_key(name.removeprefix(NOTE_PREFIX)), note)
            kept = {name: "" for name in notes if name.startswith(NOTE_PREFIX)} | _standing_notes(lines)
            changed = {name: note for name, note in kept.items() if note != notes.get(name, "")}
            await self._keep(lines, alerts, changed)
        self._resumed = True

    async def run(self) -> None:
        """For ever."""
        while True:
            if not self._resumed:
                await self.resume()
            await self._expire()
            for request in await asyncio.to_thread(self._spool.take):
                await self._answer(request)
            await asyncio.sleep(LOOK_PERIOD_S)

    async def _expire(self) -> None:
        async with self._poller.lines() as lines:
            now = utc_now()
            alerts = [alert for line in lines.values() for alert in line.rules.expire(now)]
            if alerts:
                await self._keep(lines, alerts)

    async def _answer(self, request: AlarmRequest) -> None:
        try:
            async with self._poller.lines() as lines:
                line, alert_id = _found(lines, request.alert)
                alerts = _carried_out(line, alert_id, request)
                await self._keep(lines, alerts)
        except (Rejected, ValueError) as error:
            said = {"refused": f"{request.alert}: {error}"}
        else:
            said = {"done": f"{request.action} {alert_id} of {line.component_id.key}"}
            log.info("alarm handled", action=request.action, alert=alert_id, operator=request.operator)
        await asyncio.to_thread(lambda: self._spool.answer(request.request, **said))

    async def _keep(self, lines: Lines, alerts: list[Alert], notes: Mapping[str, str] | None = None) -> None:
        changed = dict(notes or {})
        for line in lines.values():
            changed |= line.notes()
        if alerts or changed:
            await self._recorder.keep(alerts, [alert_event(alert) for alert in alerts], changed)


def _resume(lines: Lines, key: ComponentId, note: str) -> list[Alert]:
    now = utc_now()
    try:
        if key in lines:
            return lines[key].rules.resume(note, now)
        return cleared(read_note(note), now, "the configuration changed")
    except ValidationError as error:
        log.error("alarms of an earlier run are not readable", component=key.key, reason=str(error))
        return []


def _standing_notes(lines: Lines) -> dict[str, str]:
    return {note_name(key): line.rules.note() for key, line in lines.items()}


def _found(lines: Lines, alert: str) -> tuple[Line, str]:
    """The one alert whose id begins like this."""
    found = [(line, id_) for line in lines.values() for id_ in line.rules.alert_ids if id_.startswith(alert)]
    if len(found) != 1:
        count = f"{len(found)} alerts begin like this" if found else "no alert that stands begins like this"
        raise Rejected(f"{count}; `edge-agent alarm list` names them")
    return found[0]


def _carried_out(line: Line, alert_id: str, request: AlarmRequest) -> list[Alert]:
    now, operator, reason = utc_now(), request.operator, request.reason
    if request.until is not None:
        shelf = Shelf(operator, reason, now, request.until, Severity.WARNING, request.request)
        return line.rules.shelve(alert_id, shelf)
    change = line.rules.unshelve if request.action == "unshelve" else line.rules.reset
    return change(alert_id, operator, reason, now)
