"""A second model beside the one in use, on the same readings: never in the way of a poll.

Enters: what a poll brought, once its work is done. Leaves: how the judged model compares with the other.
Never: a prediction of the second one as the plant's; a poll that waits. When the second model is behind it is
asked less.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from edge_agent.line import SCORED_TOGETHER_MAX, Line
from edge_agent.poller import Poller, Scored
from edge_agent.scoring import Scorer
from edge_agent.update import Comparison, Failure, HealthLimits, Release, sample
from edge_agent.window import WindowBuffer
from shared.errors import Rejected
from shared.schemas import ComponentId, PredictionRecord, Window

BEHIND_MAX: Final = 10  # polls in a row after which the next was due: then it is asked all the same
RUN_S_MAX: Final = 30.0  # of the second model, for all components of a poll: then it hangs

log = structlog.get_logger()
Due = list[tuple[ComponentId, Window, PredictionRecord | Rejected]]


class Shadow:
    """One model beside another: its windows, and how they compare.

    `judges_active`: the one in use is judged, and this one is the measure.
    """

    def __init__(self, scorer: Scorer, active: Scorer, comparison: Comparison) -> None:
        self.scorer, self.comparison, self.judges_active = scorer, comparison, False
        self.windows: dict[ComponentId, WindowBuffer] = {}
        self._behind = 0
        self.skipped = 0  # polls after which it was still busy, or the next poll was due
        horizons = [each.manifest.horizon_cycles for each in (scorer, active)]
        self._horizon = None if None in horizons else min(h for h in horizons if h is not None)
        self._run: asyncio.Task[None] | None = None
        self._run_began = 0.0
        self._broken: Failure | None = None

    def fill(self, key: ComponentId, line: Line) -> None:
        """Begin with the cycles that the model in use has, where both want the same tags."""
        spec = self.scorer.manifest.feature_spec
        if line.window is not None and line.window.spec == spec:
            self.windows[key] = line.window.copy()

    def take(self, scored: Scored, behind: bool) -> None:
        """What a poll brought for this component type; scored on a thread, unless that would pile up."""
        due: Due = []
        for line, telemetry, answer in scored:
            window = self._windows(line).push(telemetry)
            if window is not None and answer is not None:
                due.append((line.component_id, window, answer))
        if not due:
            return
        self._behind = self._behind + 1 if behind else 0
        busy = self._run is not None and not self._run.done()
        if busy or 0 < self._behind <= BEHIND_MAX:
            self.skipped += 1
            return
        self._behind, self._run_began = 0, time.monotonic()
        self._run = asyncio.create_task(self._score(due))

    def _windows(self, line: Line) -> WindowBuffer:
        found = self.windows.get(line.component_id)
        if found is None:
            spec = self.scorer.manifest.feature_spec
            found = WindowBuffer(line.component_id, line.component.type, spec)
            self.windows[line.component_id] = found
        return found

    async def _score(self, due: Due) -> None:
        judges_active = self.judges_active
        try:
            answers = await asyncio.to_thread(self._answers, [window for _, window, _ in due])
        except Exception as error:
            log.exception("a model that is tried failed")
            self._broken = Failure("health: scoring", f"{type(error).__name__}: {str(error)[:200]}")
            return
        if judges_active is not self.judges_active:
            return  # the two changed places meanwhile
        pairs = []
        for (key, _, active), answer in zip(due, answers, strict=True):
            other, own = sample(active, self._horizon), sample(answer, self._horizon)
            pairs.append((key, other, own) if judges_active else (key, own, other))
        self.comparison.add(pairs)

    def _answers(self, windows: list[Window]) -> list[PredictionRecord | Rejected]:
        found: list[PredictionRecord | Rejected] = []
        for start in range(0, len(windows), SCORED_TOGETHER_MAX):
            found += self.scorer.score_many(windows[start : start + SCORED_TOGETHER_MAX])
        return found

    def failure(self) -> Failure | None:
        """The check that the judged model fails. One that breaks or hangs counts only while it is judged."""
        if not self.judges_active:
            if self._broken:
                return self._broken
            if self._run is not None and not self._run.done() and self._waited_s() > RUN_S_MAX:
                return Failure(
                    "health: latency", f"it has run for {self._waited_s():.0f} s without an answer"
                )
        return self.comparison.failure()

    def _waited_s(self) -> float:
        return time.monotonic() - self._run_began


class Trials:
    """At most one second model a component type; `load` checks a release on this machine."""

    def __init__(
        self,
        poller: Poller,
        load: Callable[[Release], Awaitable[Scorer]],
        limits: HealthLimits | None = None,
    ) -> None:
        self._poller, self._load, self._limits = poller, load, limits or HealthLimits()
        self._shadows: dict[str, Shadow] = {}

    def comparison(self, component_type: str) -> Comparison:
        """How the two compare so far."""
        return self._shadows[component_type].comparison

    async def check(self, release: Release) -> None:
        """Untrusted names what failed."""
        await self._load(release)

    def can_try(self, component_type: str) -> bool:
        """Whether a component of this type is scored here."""
        types = {component.type for component in self._poller.config.components.values()}
        return component_type in types and component_type in self._poller.scorers

    async def begin(self, release: Release) -> None:
        """The release runs beside the one in use, and is judged."""
        await self._beside(release)

    async def watch(self, previous: Release) -> None:
        """The release before runs beside the one in use, which is judged."""
        shadow = await self._beside(previous)
        shadow.judges_active = True

    async def _beside(self, release: Release) -> Shadow:
        kind, scorer = release.manifest.component_type, await self._load(release)
        async with self._poller.lines() as lines:
            mine = {key: line for key, line in lines.items() if line.component.type == kind}
            comparison = Comparison(len(mine), self._limits)
            shadow = Shadow(scorer, self._poller.scorers[kind], comparison)
            for key, line in mine.items():
                shadow.fill(key, line)
            self._shadows[kind] = shadow
        self._poller.afterwards = self._take
        return shadow

    async def promote(self, component_type: str) -> None:
        """The two change places, with their windows: no cycle is lost."""
        shadow = self._shadows[component_type]
        async with self._poller.lines() as lines:
            mine = [line for line in lines.values() if line.component.type == component_type]
            before = {line.component_id: line.window for line in mine if line.window is not None}
            old = self._poller.scorers[component_type]
            self._poller.use(component_type, shadow.scorer, shadow.windows)
            shadow.scorer, shadow.windows, shadow.judges_active = old, before, True
            shadow.comparison = shadow.comparison.following()

    def end(self, component_type: str) -> None:
        """Only the one in use runs; without any second model a poll costs what it did before."""
        self._shadows.pop(component_type, None)
        if not self._shadows:
            self._poller.afterwards = None

    def finding(self, component_type: str) -> tuple[Failure | None, bool]:
        """The check that failed, and whether enough cycles were seen."""
        shadow = self._shadows[component_type]
        wanted = self._limits.watch_cycles if shadow.judges_active else self._limits.trial_cycles
        return shadow.failure(), shadow.comparison.cycles >= wanted

    def _take(self, scored: Scored, behind: bool) -> None:
        for kind, shadow in self._shadows.items():
            own = [each for each in scored if each[0].component.type == kind]
            if own:
                shadow.take(own, behind)
