"""What the site's own people want of its models: a hold, and releases that a courier brought.

Enters: files in the data folder. Leaves: audit entries, answers. Never: anything believed of a release
because of who brought it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from edge_agent.recorder import Detail, Event, Recorder
from edge_agent.settings import AgentSettings
from edge_agent.update import FOLDER_URL, FolderFetcher, Hold, HoldFile, ImportTray, Outcome, ReleaseClient
from shared.schemas import AuditEvent, utc_now

UNREADABLE = timedelta(hours=1)  # that a hold nobody can read stands for, and again

log = structlog.get_logger()
Apply = Callable[[ReleaseClient], Awaitable[Outcome]]


class SitePeople:
    """Looks at the hold and at the import tray; `held` says what was found last."""

    def __init__(self, settings: AgentSettings, recorder: Recorder) -> None:
        self._settings, self._recorder = settings, recorder
        self._file, self._tray = HoldFile(settings.data_dir), ImportTray(settings.data_dir)
        self._hold: Hold | None = None

    @property
    def held(self) -> str | None:
        """Until when, by whom and why; None when the models may change."""
        return self._hold.text if self._hold else None

    async def look(self) -> None:
        """Take a hold up, or its end; each is put on the record."""
        found = await asyncio.to_thread(self._read)
        before, self._hold = self._hold, found
        if found and found != before:
            detail: Detail = {"until": found.until.isoformat(), "operator": found.operator}
            await self._note(AuditEvent.MODEL_HELD, detail | {"reason": found.reason})
        elif before and not found:
            await self._note(AuditEvent.MODEL_HOLD_ENDED, {"operator": before.operator})

    def _read(self) -> Hold | None:
        now = utc_now()
        try:
            return self._file.read(now)
        except ValueError as error:
            if self._hold and self._hold.operator == "unknown" and self._hold.until > now:
                return self._hold
            return Hold(until=now + UNREADABLE, operator="unknown", reason=str(error)[:200])

    async def import_with(self, apply: Apply) -> None:
        """Take in what a courier brought, verified as from the network; answer whoever laid it in."""
        folder = self._tray.waiting
        if folder is None:
            return
        own = self._settings
        source = ReleaseClient(own.data_dir, own.trust_dir, FOLDER_URL, own.site, FolderFetcher(folder))
        outcome = await apply(source)
        problem = outcome.problem or outcome.away
        said = {"problem": problem} if problem else dict(outcome.said)
        await asyncio.to_thread(self._tray.settle, said)
        log.info("imported", **said)

    async def _note(self, event: AuditEvent, detail: Detail) -> None:
        log.info(event.value.replace("_", " "), **detail)
        await self._recorder.keep([], [Event(event, self._settings.site, detail=detail)])
