"""The models of a site: what runs, what is tried beside it, what is watched since its commit.

Each method is one whole change: a transaction of the slots, then what runs, then the record, then word to the
centre. An agent that ends between two of them finds at its next start what has still to be done.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from edge_agent.update.answer import Answer, State
from edge_agent.update.beside import Beside
from edge_agent.update.release import Release
from edge_agent.update.slots import STARTS_MAX, ModelSlots, Slot, Stored
from edge_agent.update.teller import Teller
from shared.errors import Untrusted

log = structlog.get_logger()

Install = Callable[[Release], Awaitable[None]]


class ModelBay:
    """By component type at most one model runs, and at most one beside it.

    `install` checks a release on this machine and runs it; `beside` is where a second one runs.
    """

    def __init__(self, slots: ModelSlots, install: Install, beside: Beside, teller: Teller) -> None:
        self._slots, self._install = slots, install
        self.beside, self._teller = beside, teller
        self.running: dict[str, Release] = {}
        self.trials: dict[str, Release] = {}
        self._watched: set[str] = set()

    @property
    def watched(self) -> dict[str, Release]:
        """What was committed lately and is compared with the one before, by component type."""
        return {kind: self.running[kind] for kind in self._watched}

    # --- in ---------------------------------------------------------------------------------------

    async def start(self, release: Release) -> None:
        """Run what is committed; Untrusted when it does not pass here any more."""
        await self._install(release)
        self.running[release.component_type] = release

    async def go_on(self, release: Release) -> Answer:
        """It runs already; perhaps the director has a newer word on it."""
        if release.component_type in self.trials:  # another one, which is not wanted any more
            await self._end_trial(release.component_type)
        return await self._adopt("COMMITTED", release, self.running, State.COMMITTED)

    async def try_on(self, release: Release) -> Answer:
        """It is tried already; perhaps the director has a newer word on it."""
        return await self._adopt("PROVISIONAL", release, self.trials, State.TRYING)

    async def _adopt(self, slot: Slot, release: Release, place: dict[str, Release], state: State) -> Answer:
        answer = Answer.of(release, state)
        if answer != self._teller.known(release.component_type):
            await asyncio.to_thread(self._slots.adopt, slot, release, answer)
            place[release.component_type] = release
            await self._teller.say(answer)
        return answer

    async def needs_trial(self, release: Release) -> bool:
        """Not where there is nothing to try it beside. Nor does what did well here before: the one in use may
        be unwell, and is no measure."""
        kind = release.component_type
        if kind not in self.running or not self.beside.can_try(kind):
            return False
        return not await asyncio.to_thread(self._slots.proven, kind, release.identity)

    async def run_at_once(self, release: Release) -> Answer:
        """Committed without a trial."""
        kind, answer = release.component_type, Answer.of(release, State.COMMITTED)
        await self._make_room(kind)
        await asyncio.to_thread(self._slots.provision, release)
        await self._install(release)
        await asyncio.to_thread(self._slots.commit, kind, answer)
        self.running[kind] = release
        return await self._teller.say(answer)

    async def try_out(self, release: Release) -> Answer:
        """Beside the one in use; Untrusted for one that ended the agent again and again."""
        answer = Answer.of(release, State.TRYING)
        await self._make_room(release.component_type)
        starts = await asyncio.to_thread(self._slots.provision, release, answer)
        if starts > STARTS_MAX:
            raise _restarts(starts)
        await self.beside.begin(release)
        self.trials[release.component_type] = release
        return await self._teller.say(answer)

    async def promote(self, release: Release) -> None:
        """What was tried is committed, and watched."""
        kind, answer = release.component_type, Answer.of(release, State.COMMITTED)
        await asyncio.to_thread(lambda: self._slots.commit(kind, answer, watched=True))
        await self.beside.promote(kind)
        del self.trials[kind]
        self.running[kind] = release
        self._watched.add(kind)
        await self._teller.say(answer)

    async def keep_to_go_back_to(self, release: Release) -> None:
        """The director's fallback, for a site that has nothing of its own to go back to."""
        kind, running = release.component_type, self.running.get(release.component_type)
        if running is None or running.identity == release.identity or kind in self.trials:
            return
        if any((s.component_type, s.slot) == (kind, "PREVIOUS") for s in await self._stored()):
            return
        try:
            await self.beside.check(release)
        except Untrusted as error:
            await self._teller.refused(error, release.manifest.folder)
        else:
            await asyncio.to_thread(self._slots.keep_previous, release)

    # --- out --------------------------------------------------------------------------------------

    async def refuse(self, answer: Answer) -> Answer:
        """The one in use stays; what is tried for this type ends."""
        if self.trials.pop(answer.component_type, None):
            self.beside.end(answer.component_type)
        await asyncio.to_thread(self._slots.discard, answer.component_type, answer)
        return await self._teller.say(answer)

    async def watch_again(self, kind: str, before: Release) -> None:
        """An agent that ends again and again since a commit ends because of it."""
        starts = await asyncio.to_thread(self._slots.started, kind)
        if starts > STARTS_MAX:
            await self.go_back(kind, before, _restarts(starts), self.running[kind])
            return
        try:
            await self.beside.watch(before)
        except Untrusted as error:  # nothing to compare with, nothing to go back to
            await self._teller.refused(error, before.manifest.folder)
        else:
            self._watched.add(kind)

    async def did_well(self, kind: str) -> None:
        """The watch is over."""
        await asyncio.to_thread(self._slots.watched, kind)
        self._end_watch(kind)
        log.info("model did well since its commit", release=self.running[kind].manifest.folder)

    async def back_to_previous(self, kind: str, problem: Untrusted) -> None:
        """The one in use is unfit; where nothing is to go back to it runs on, and that is on the record."""
        for stored in await self._stored():
            if (stored.component_type, stored.slot) == (kind, "PREVIOUS") and stored.release:
                await self.go_back(kind, stored.release, problem, self.running[kind])
                return
        self._end_watch(kind)
        await self._teller.refused(problem, self.running[kind].manifest.folder)

    async def go_back(self, kind: str, before: Release, problem: Untrusted, unfit: Release | None) -> None:
        """Run the release before the committed one, and remember the latter as unfit."""
        try:
            await self._install(before)
        except Untrusted as error:
            await self._teller.refused(error, before.manifest.folder)
            return
        answer = self._rolled_back(before, problem, unfit)
        self._end_watch(kind)
        await asyncio.to_thread(self._slots.roll_back, kind, answer.identity, answer)
        self.running[kind] = before
        await self._teller.say(answer)

    def _rolled_back(self, before: Release, problem: Untrusted, unfit: Release | None) -> Answer:
        """A committed release that cannot be read from the disk any more is known by what was answered."""
        why = f"{problem}; {before.manifest.folder} runs again"
        if unfit:
            return Answer.of(unfit, State.ROLLED_BACK, why)
        known = self._teller.known(before.component_type)
        if known and known.state is State.COMMITTED:
            return known._replace(state=State.ROLLED_BACK, detail=why)
        return known or Answer.of(before, State.COMMITTED)

    async def _make_room(self, kind: str) -> None:
        """Beside the one in use there is place for one."""
        self._end_watch(kind)
        if kind in self.trials:
            await self._end_trial(kind)

    def _end_watch(self, kind: str) -> None:
        if kind in self._watched:
            self._watched.discard(kind)
            self.beside.end(kind)

    async def _end_trial(self, kind: str) -> None:
        del self.trials[kind]
        self.beside.end(kind)
        await asyncio.to_thread(self._slots.discard, kind)

    async def _stored(self) -> list[Stored]:
        return await asyncio.to_thread(self._slots.all)


def _restarts(starts: int) -> Untrusted:
    return Untrusted(
        "health: restarts", f"the agent ended {starts - 1} times unasked with it; at most {STARTS_MAX} starts"
    )
