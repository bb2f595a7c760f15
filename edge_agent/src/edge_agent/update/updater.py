"""What happens to a release on its way in: checked, tried beside the one in use, committed; or refused."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from edge_agent.update.answer import Answer, State
from edge_agent.update.bay import Install, ModelBay
from edge_agent.update.beside import ALONE, Beside
from edge_agent.update.outcome import Outcome
from edge_agent.update.release import Release
from edge_agent.update.slots import ModelSlots, Stored
from edge_agent.update.teller import Record, Tell, Teller
from shared.errors import Retryable, Untrusted

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
        self._client, self._slots, self._held = client, slots, held
        self._teller = Teller(slots, record, tell)
        self._bay = ModelBay(slots, install, beside, self._teller)
        self._looking, self._changing = asyncio.Lock(), asyncio.Lock()

    @property
    def answers(self) -> list[Answer]:
        """Where every component type stands."""
        return self._teller.answers

    @property
    def trials(self) -> dict[str, Release]:
        """What runs beside the model in use, by component type."""
        return dict(self._bay.trials)

    @property
    def watched(self) -> dict[str, Release]:
        """What was committed lately and is compared with the one before, by component type."""
        return self._bay.watched

    # --- the agent begins and ends ----------------------------------------------------------------

    async def resume(self) -> None:
        """Run what was committed before, verified again; where that fails, what ran before it."""
        await self._teller.load()
        slots: dict[tuple[str, str], Stored] = {}
        for each in await asyncio.to_thread(self._slots.all):
            slots[each.component_type, each.slot] = each
        for (kind, slot), stored in slots.items():
            if slot == "COMMITTED":
                previous = slots.get((kind, "PREVIOUS"))
                await self._resume(stored, previous.release if previous else None)
        await self._teller.catch_up()

    async def _resume(self, committed: Stored, before: Release | None) -> None:
        problem = committed.problem
        if committed.release:
            try:
                await self._bay.start(committed.release)
            except Untrusted as error:
                problem = error
        if problem:
            await self._teller.refused(problem, "stored release")
            if before:
                await self._bay.go_back(committed.component_type, before, problem, committed.release)
        elif before and committed.watched:
            await self._bay.watch_again(committed.component_type, before)

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
                self._teller.looks_again()
                await self._teller.refused(error, "repositories")
                return Outcome({}, {}, {}, problem=str(error))
            self._teller.looks_again()
            async with self._changing:
                return await self._take_all(releases)

    async def unknown(self, rollout_id: str, reason: str) -> None:
        """A command for what the signed metadata does not name: an old one again, or a repository that stands
        still while commands come."""
        await self._teller.refused(Untrusted("command", f"{rollout_id}: {reason}"), rollout_id)

    async def _take_all(self, releases: list[Release]) -> Outcome:
        outcome = Outcome({}, {}, {})
        for release in sorted(releases, key=_is_fallback):
            if not _is_fallback(release):
                outcome.add(await self._take(release))
            elif any(r.component_type == release.component_type and not _is_fallback(r) for r in releases):
                await self._bay.keep_to_go_back_to(release)
            else:
                outcome.add(await self._take(release, back=True))
        await self._end_what_is_not_named({release.identity for release in releases})
        return outcome

    async def _take(self, release: Release, *, back: bool = False) -> Answer:
        """What becomes of one release now. `back`: the director names nothing but what to go back to."""
        kind = release.component_type
        known = self._teller.known(kind)
        if known and release.assignment.generation < known.generation:
            return await self._stale(release, known.generation)
        if known and known.state.final and known.is_of(release):
            return known
        if (running := self._bay.running.get(kind)) and running.identity == release.identity:
            return await self._bay.go_on(release)
        if (tried := self._bay.trials.get(kind)) and tried.identity == release.identity:
            return await self._bay.try_on(release)
        if until := self._held():
            return await self._teller.note(Answer.of(release, State.HELD, until))
        return await self._let_in(release, back=back)

    async def _let_in(self, release: Release, *, back: bool) -> Answer:
        try:
            await self._bay.beside.check(release)
            if release.assignment.mode == "shadow" or (not back and await self._bay.needs_trial(release)):
                return await self._bay.try_out(release)
            return await self._bay.run_at_once(release)
        except Retryable as error:  # the machine is too busy to load it: the next look tries again
            return Answer.of(release, State.HELD, str(error))
        except Untrusted as error:
            return await self._bay.refuse(Answer.of(release, State.REFUSED, str(error)))

    async def _stale(self, release: Release, newest: int) -> Answer:
        """An older word of the director, whoever brings it: it changes nothing, not even the answer."""
        found, kind = release.assignment.generation, release.component_type
        error = Untrusted("stale generation", f"{found} for {kind}; this site has seen {newest}")
        await self._teller.refused(error, release.manifest.folder)
        return Answer.of(release, State.REFUSED, str(error))

    async def _end_what_is_not_named(self, named: set[str]) -> None:
        """A roll-out that was stopped takes its trials with it; what was committed runs on."""
        for answer in self._teller.answers:
            if answer.state in (State.TRYING, State.HELD) and answer.identity not in named:
                why = "withdrawn: the director names this release no more"
                await self._bay.refuse(answer._replace(state=State.REFUSED, detail=why))

    # --- how what runs does -----------------------------------------------------------------------

    async def judge(self) -> None:
        """Commit or refuse what is tried, go back from what was committed and does badly; or neither yet."""
        async with self._changing:
            for release in list(self._bay.trials.values()):
                await self._judge_trial(release)
            for kind in self._bay.watched:
                failure, enough = self._bay.beside.finding(kind)
                if failure:
                    await self._bay.back_to_previous(kind, Untrusted(*failure))
                elif enough:
                    await self._bay.did_well(kind)

    async def _judge_trial(self, release: Release) -> None:
        failure, enough = self._bay.beside.finding(release.component_type)
        if failure:
            await self._bay.refuse(Answer.of(release, State.REFUSED, str(Untrusted(*failure))))
        elif enough and release.assignment.mode != "shadow":
            if until := self._held():
                await self._teller.note(Answer.of(release, State.HELD, until))
            else:
                await self._bay.promote(release)


def _is_fallback(release: Release) -> bool:
    return release.assignment.mode == "fallback"
