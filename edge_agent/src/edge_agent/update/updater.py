"""What happens to a release on its way in: fetched, provisioned, tried, committed; or refused."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

import structlog

from edge_agent.update.release import Release
from edge_agent.update.slots import ModelSlots
from shared.errors import Retryable, Untrusted
from shared.schemas import AuditEvent

log = structlog.get_logger()

Detail = dict[str, str | int | float | bool]
Install = Callable[[Release], Awaitable[None]]
Record = Callable[[AuditEvent, Detail], Awaitable[None]]


class Outcome(NamedTuple):
    """What one look at the repositories led to, by roll-out id.

    `committed` holds what runs now (`name/version`), `refused` the reason. `problem` is why nothing
    could be believed, `away` why nothing could be fetched.
    """

    committed: dict[str, str]
    refused: dict[str, str]
    problem: str | None = None
    away: str | None = None

    def answer(self, rollout_id: str) -> tuple[bool, str]:
        """Whether the roll-out's release runs now, and that or why not in words."""
        if rollout_id in self.committed:
            return True, self.committed[rollout_id]
        reason = self.problem or self.refused.get(rollout_id)
        return False, reason or "the director's metadata does not name this roll-out (any more)"


class Fetches(Protocol):
    """The release client, or what stands for it in a test."""

    def fetch(self) -> list[Release]: ...


class Updater:
    """Applies what the repositories say. A release that was refused is not tried again until it changes."""

    def __init__(self, client: Fetches, slots: ModelSlots, install: Install, record: Record) -> None:
        self._client, self._slots, self._install, self._record = client, slots, install, record
        self._running: dict[str, tuple[str, int]] = {}
        self._refused: dict[tuple[str, int], str] = {}
        self._last_refusal = ""
        self._lock = asyncio.Lock()

    async def resume(self) -> None:
        """Run what was committed before, verified again; what fails is refused, the others run."""
        releases, refused = await asyncio.to_thread(self._slots.committed)
        for error in refused:
            await self._refuse(error, "stored release")
        for release in releases:
            try:
                await self._install(release)
            except Untrusted as error:
                await self._refuse(error, release.manifest.folder)
            else:
                self._running[release.manifest.component_type] = _identity(release)

    async def apply(self) -> Outcome:
        """One look: every new release is tried and committed or refused; what runs is kept meanwhile."""
        async with self._lock:
            try:
                releases = await asyncio.to_thread(self._client.fetch)
            except Retryable as error:
                return Outcome({}, {}, away=str(error))
            except Untrusted as error:
                await self._refuse(error, "repositories")
                return Outcome({}, {}, problem=str(error))
            outcome = Outcome({}, {})
            for release in (r for r in releases if r.assignment.mode != "fallback"):
                rollout_id, problem = release.assignment.rollout_id, await self._take(release)
                if problem:
                    outcome.refused[rollout_id] = problem
                else:
                    outcome.committed[rollout_id] = release.manifest.folder
            return outcome

    async def _take(self, release: Release) -> str | None:
        """Commit one release; the reason when it is refused."""
        kind, identity = release.manifest.component_type, _identity(release)
        if self._running.get(kind) == identity:
            return None
        if identity in self._refused:
            return self._refused[identity]
        await asyncio.to_thread(self._slots.provision, release)
        try:
            await self._install(release)
        except Untrusted as error:
            await asyncio.to_thread(self._slots.discard, kind)
            self._refused[identity] = str(error)
            await self._refuse(error, release.manifest.folder)
            return str(error)
        await asyncio.to_thread(self._slots.commit, kind)
        self._running[kind] = identity
        await self._record(
            AuditEvent.MODEL_COMMITTED,
            {
                "release": release.manifest.folder,
                "sha256": release.sha256,
                "rollout_id": release.assignment.rollout_id,
                "generation": release.assignment.generation,
            },
        )
        log.info("model committed", release=release.manifest.folder, sha256=release.sha256)
        return None

    async def _refuse(self, error: Untrusted, subject: str) -> None:
        """Put a refusal on the record, once for as long as it stays the same."""
        if str(error) == self._last_refusal:
            return
        self._last_refusal = str(error)
        log.error(
            "model refused; the one in use stays", release=subject, check=error.check, reason=str(error)
        )
        detail: Detail = {"release": subject, "check": error.check, "reason": str(error)}
        await self._record(AuditEvent.MODEL_REFUSED, detail)


def _identity(release: Release) -> tuple[str, int]:
    return release.sha256, release.assignment.generation
