"""What happens to a release on its way in: checked, tried beside the one in use, committed; or refused.

Every change is one transaction of the slots, then what runs, then the record, then word to the centre. An
agent that ends between two of them finds at its next start what has still to be done.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from edge_agent.update.answer import Answer, State
from edge_agent.update.beside import ALONE, Beside
from edge_agent.update.outcome import Outcome
from edge_agent.update.release import Release
from edge_agent.update.slots import STARTS_MAX, ModelSlots, Stored
from edge_agent.update.teller import Record, Tell, Teller
from shared.errors import Retryable, Untrusted

log = structlog.get_logger()

Install = Callable[[Release], Awaitable[None]]
Held = Callable[[], str | None]


class Fetches(Protocol):
    """The release client, or what stands for it in a test."""

    def fetch(self) -> list[Release]: ...


class Updater:
    """Applies what the repositories say. A release that was refused or rolled back is not tried again until
    the director names it with a higher generation.

    `install` checks a release on this machine and runs it. `beside` is where one is tried beside the one in
    use, `held` says until when the site's people want no change.
    """

    def __init__(
        self,
        client: Fetches,
        slots: ModelSlots,
        install: Install,
        record: Record,
        *,
        beside: Beside = ALONE,
        tell: Tell | None = None,
        held: Held = lambda: None,
    ) -> None:
        self._client, self._slots, self._install = client, slots, install
        self._teller = Teller(slots, record, tell)
        self._beside, self._held = beside, held
        self._running: dict[str, Release] = {}
        self._trials: dict[str, Release] = {}
        self._watched: set[str] = set()
        self._looking, self._changing = asyncio.Lock(), asyncio.Lock()

    @property
    def answers(self) -> list[Answer]:
        """Where every component type stands."""
        return self._teller.answers

    @property
    def trials(self) -> dict[str, Release]:
        """What runs beside the model in use, by component type."""
        return dict(self._trials)

    @property
    def watched(self) -> dict[str, Release]:
        """What was committed lately and is compared with the one before, by component type."""
        return {kind: self._running[kind] for kind in self._watched}

    # --- the agent begins and ends ----------------------------------------------------------------

    async def resume(self) -> None:
        """Run what was committed before, verified again; where that fails, what ran before it."""
        await self._teller.load()
        slots: dict[tuple[str, str], Stored] = {}
        for each in await asyncio.to_thread(self._slots.all):
            slots[each.component_type, each.slot] = each
        for (kind, slot), stored in slots.items():
            if slot == "COMMITTED":
                await self._resume(stored, slots.get((kind, "PREVIOUS")))
        await self._teller.catch_up()

    async def _resume(self, committed: Stored, previous: Stored | None) -> None:
        kind, before = committed.component_type, previous.release if previous else None
        problem = committed.problem
        if committed.release:
            try:
                await self._install(committed.release)
                self._running[kind] = committed.release
            except Untrusted as error:
                problem = error
        if problem:
            await self._teller.refused(problem, "stored release")
            if before:
                await self._go_back(kind, before, problem, committed.release)
        elif before and committed.watched:
            await self._watch_again(kind, before)

    async def _watch_again(self, kind: str, before: Release) -> None:
        """An agent that ends again and again since a commit ends because of it."""
        starts = await asyncio.to_thread(self._slots.started, kind)
        if starts > STARTS_MAX:
            await self._go_back(kind, before, _restarts(starts), self._running[kind])
            return
        try:
            await self._beside.watch(before)
        except Untrusted as error:  # nothing to compare with, nothing to go back to
            await self._teller.refused(error, before.manifest.folder)
        else:
            self._watched.add(kind)

    async def close(self) -> None:
        """The agent ends because it was told to."""
        await asyncio.to_thread(self._slots.ended)

    # --- a look at the repositories ---------------------------------------------------------------

    async def apply(self, source: Fetches | None = None) -> Outcome:
        """One look: every new release is tried, committed or refused; what runs is kept meanwhile."""
        async with self._looking:
            try:
                releases = await asyncio.to_thread((source or self._client).fetch)
            except Retryable as error:
                return Outcome({}, {}, {}, away=str(error))
            except Untrusted as error:
                await self._teller.refused(error, "repositories")
                return Outcome({}, {}, {}, problem=str(error))
            outcome = Outcome({}, {}, {})
            async with self._changing:
                for release in sorted(releases, key=lambda r: r.assignment.mode == "fallback"):
                    if release.assignment.mode != "fallback":
                        outcome.add(await self._take(release))
                    elif not any(_wanted(other, release) for other in releases):
                        outcome.add(await self._take(release, back=True))
                    else:
                        await self._keep_to_go_back_to(release)
                await self._end_what_is_not_wanted({release.identity for release in releases})
            return outcome

    async def _end_what_is_not_wanted(self, named: set[str]) -> None:
        """A roll-out that was stopped takes its trials with it; what was committed runs on."""
        for release in list(self._trials.values()):
            if release.identity not in named:
                error = Untrusted("withdrawn", f"the director names {release.manifest.folder} no more")
                await self._refuse(release, error)

    async def _take(self, release: Release, *, back: bool = False) -> Answer:
        """What becomes of one release now. `back`: the director names nothing but what to go back to."""
        kind, told = _kind(release), release.assignment
        known = self._teller.known(kind)
        if known and told.generation < known.generation:
            return await self._stale(release, known.generation)
        if known and known.state.final and _same(known, release):
            return known
        if (running := self._running.get(kind)) and running.identity == release.identity:
            return await self._goes_on(release)
        if (tried := self._trials.get(kind)) and tried.identity == release.identity:
            return await self._tried_on(release)
        if until := self._held():
            return await self._teller.note(_answer(release, State.HELD, until))
        return await self._let_in(release, back=back)

    async def _stale(self, release: Release, newest: int) -> Answer:
        """An older word of the director, whoever brings it: it changes nothing, not even the answer."""
        text = f"generation {release.assignment.generation} for {_kind(release)}; this site has seen {newest}"
        error = Untrusted("stale generation", text)
        await self._teller.refused(error, release.manifest.folder)
        return _answer(release, State.REFUSED, str(error))

    async def _goes_on(self, release: Release) -> Answer:
        """It runs already; perhaps the director has a newer word on it."""
        kind = _kind(release)
        answer = _answer(release, State.COMMITTED, release.manifest.folder)
        if kind in self._trials:  # beside it was another one, which is not wanted any more
            await self._end_trial(kind)
        if answer != self._teller.known(kind):
            await asyncio.to_thread(self._slots.adopt, "COMMITTED", release, answer)
            self._running[kind] = release
            await self._teller.say(answer)
        return answer

    async def _tried_on(self, release: Release) -> Answer:
        kind, answer = _kind(release), _answer(release, State.TRYING, release.manifest.folder)
        if answer != self._teller.known(kind):
            await asyncio.to_thread(self._slots.adopt, "PROVISIONAL", release, answer)
            self._trials[kind] = release
            await self._teller.say(answer)
        return answer

    async def _let_in(self, release: Release, *, back: bool) -> Answer:
        try:
            await self._beside.check(release)
            if _kind(release) in self._trials:
                await self._end_trial(_kind(release))
            at_once = release.assignment.mode != "shadow" and await self._needs_no_trial(release, back=back)
            return await (self._run_at_once(release) if at_once else self._try(release))
        except Untrusted as error:
            return await self._refuse(release, error)

    async def _needs_no_trial(self, release: Release, *, back: bool) -> bool:
        """Where there is nothing to try it beside. Nor does what did well here before: the one in use may be
        unwell, and is no measure."""
        kind = _kind(release)
        if back or kind not in self._running or not self._beside.can_try(kind):
            return True
        return await asyncio.to_thread(self._slots.proven, kind, release.identity)

    async def _run_at_once(self, release: Release) -> Answer:
        kind = _kind(release)
        await asyncio.to_thread(self._slots.provision, release)
        await self._install(release)
        self._end_watch(kind)
        answer = _answer(release, State.COMMITTED, release.manifest.folder)
        await asyncio.to_thread(self._slots.commit, kind, answer)
        self._running[kind] = release
        return await self._teller.say(answer)

    async def _try(self, release: Release) -> Answer:
        kind, answer = _kind(release), _answer(release, State.TRYING, release.manifest.folder)
        self._end_watch(kind)
        starts = await asyncio.to_thread(self._slots.provision, release, answer)
        if starts > STARTS_MAX:
            raise _restarts(starts)
        await self._beside.begin(release)
        self._trials[kind] = release
        return await self._teller.say(answer)

    async def _keep_to_go_back_to(self, release: Release) -> None:
        """The director's fallback, for a site that has nothing of its own to go back to."""
        kind = _kind(release)
        running = self._running.get(kind)
        if running is None or running.identity == release.identity or kind in self._trials:
            return
        stored = await asyncio.to_thread(self._slots.all)
        if any((s.component_type, s.slot) == (kind, "PREVIOUS") for s in stored):
            return
        try:
            await self._beside.check(release)
        except Untrusted as error:
            await self._teller.refused(error, release.manifest.folder)
        else:
            await asyncio.to_thread(self._slots.keep_previous, release)

    # --- how what runs does -----------------------------------------------------------------------

    async def judge(self) -> None:
        """Commit or refuse what is tried, go back from what was committed and does badly; or neither yet."""
        async with self._changing:
            for kind, release in list(self._trials.items()):
                failure, enough = self._beside.finding(kind)
                if failure:
                    await self._refuse(release, Untrusted(*failure))
                elif enough and release.assignment.mode != "shadow":
                    await self._promote_unless_held(release)
            for kind in list(self._watched):
                failure, enough = self._beside.finding(kind)
                if failure:
                    await self._back_to_previous(kind, Untrusted(*failure))
                elif enough:
                    await asyncio.to_thread(self._slots.watched, kind)
                    self._end_watch(kind)
                    log.info("model did well since its commit", release=self._running[kind].manifest.folder)

    async def _promote_unless_held(self, release: Release) -> None:
        if until := self._held():
            await self._teller.note(_answer(release, State.HELD, until))
        else:
            await self._promote(release)

    async def _promote(self, release: Release) -> None:
        kind, answer = _kind(release), _answer(release, State.COMMITTED, release.manifest.folder)
        await asyncio.to_thread(lambda: self._slots.commit(kind, answer, watched=True))
        await self._beside.promote(kind)
        del self._trials[kind]
        self._running[kind] = release
        self._watched.add(kind)
        await self._teller.say(answer)

    async def _back_to_previous(self, kind: str, problem: Untrusted) -> None:
        stored = await asyncio.to_thread(self._slots.all)
        before = next((s for s in stored if (s.component_type, s.slot) == (kind, "PREVIOUS")), None)
        if before is None or before.release is None:
            self._end_watch(kind)
            await self._teller.refused(problem, self._running[kind].manifest.folder)
            return
        await self._go_back(kind, before.release, problem, self._running[kind])

    async def _go_back(self, kind: str, before: Release, problem: Untrusted, unfit: Release | None) -> None:
        """Run the release before the committed one, and remember the latter as unfit."""
        try:
            await self._install(before)
        except Untrusted as error:
            await self._teller.refused(error, before.manifest.folder)
            return
        answer = self._rolled_back(kind, before, problem, unfit)
        self._end_watch(kind)
        await asyncio.to_thread(self._slots.roll_back, kind, answer.identity, answer)
        self._running[kind] = before
        await self._teller.say(answer)

    def _rolled_back(self, kind: str, before: Release, problem: Untrusted, unfit: Release | None) -> Answer:
        """A committed release that cannot be read from the disk any more is known by what was answered."""
        why = f"{problem}; {before.manifest.folder} runs again"
        if unfit:
            return _answer(unfit, State.ROLLED_BACK, why)
        known = self._teller.known(kind)
        if known and known.state is State.COMMITTED:
            return known._replace(state=State.ROLLED_BACK, detail=why)
        return known or _answer(before, State.COMMITTED, before.manifest.folder)

    # --- small steps ------------------------------------------------------------------------------

    def _end_watch(self, kind: str) -> None:
        if kind in self._watched:
            self._watched.discard(kind)
            self._beside.end(kind)

    async def _end_trial(self, kind: str) -> None:
        del self._trials[kind]
        self._beside.end(kind)
        await asyncio.to_thread(self._slots.discard, kind)

    async def _refuse(self, release: Release, error: Untrusted) -> Answer:
        """The one in use stays, and this one is not tried again under this generation."""
        kind, answer = _kind(release), _answer(release, State.REFUSED, str(error))
        if self._trials.pop(kind, None):
            self._beside.end(kind)
        await asyncio.to_thread(self._slots.discard, kind, answer)
        return await self._teller.say(answer)


def _kind(release: Release) -> str:
    return release.manifest.component_type


def _wanted(release: Release, fallback: Release) -> bool:
    return release.assignment.mode != "fallback" and _kind(release) == _kind(fallback)


def _same(answer: Answer, release: Release) -> bool:
    return (answer.identity, answer.generation) == (release.identity, release.assignment.generation)


def _answer(release: Release, state: State, detail: str) -> Answer:
    told = release.assignment
    return Answer(
        _kind(release),
        told.rollout_id,
        told.generation,
        release.identity,
        release.sha256,
        state,
        detail,
    )


def _restarts(starts: int) -> Untrusted:
    return Untrusted(
        "health: restarts", f"the agent ended {starts - 1} times unasked with it; at most {STARTS_MAX} starts"
    )
