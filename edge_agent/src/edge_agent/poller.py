"""The poll loop: when it is due, read the plant, score, and make durable what came of it.

Enters: a source's readings. Leaves: records and events, to the recorder. Never: anything of the network
beyond the plant. A new configuration is taken between two polls.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from math import inf
from types import TracebackType
from typing import Final, Protocol, Self

import structlog

from edge_agent.health import Metrics
from edge_agent.line import Answer, Line, alert_event, note_name, score_together
from edge_agent.recorder import Event
from edge_agent.schedule import PollSchedule
from edge_agent.scoring import Scorer
from edge_agent.site_config import SiteConfig
from edge_agent.sources import Source, read_s_max, source_for
from edge_agent.window import WindowBuffer
from shared.schemas import Alert, AlertState, ComponentId, PredictionRecord, Record, Telemetry, utc_now

SLEEP_S_MAX: Final = 1.0  # then look at the clocks again: one may have been set, or the period changed
STALL_S: Final = 30.0  # for a busy machine or disk, beyond what a poll of a silent plant takes
WARM_UP_READS_MAX: Final = 5  # of a new source before it takes over: OPC UA needs two or three
WARM_UP_WAIT_S_MAX: Final = 1.0  # between them
RECENT_POLLS: Final = 20  # whose quality says how the plant's tags are

log = structlog.get_logger()


Scored = list[tuple[Line, Telemetry, Answer]]  # what a poll brought


class Keeps(Protocol):
    """The recorder's part in this."""

    async def keep(
        self, records: Sequence[Record], events: Sequence[Event] = (), notes: Mapping[str, str] | None = None
    ) -> None: ...


class Poller:
    """Polls one site for ever; use it as a context manager around `run`."""

    def __init__(self, site_id: str, config: SiteConfig, recorder: Keeps, metrics: Metrics) -> None:
        self._site_id, self._recorder, self._metrics = site_id, recorder, metrics
        self._scorers: dict[str, Scorer] = {}
        self._between_polls = asyncio.Lock()
        self.afterwards: Callable[[Scored, bool], None] | None = (
            None  # of a poll; True: the next is due already
        )
        self._source: Source
        self._config, self.moved_s_max = config, _moved_s_max(config)
        self._lines = {key: Line(key, component) for key, component in config.components.items()}
        self._schedule = PollSchedule(config.plant.poll_period_s)
        self.polled = asyncio.Event()  # once: the first poll is on the disk, or its loss accounted for
        self.polls = self.polls_failed = self.polls_missed = 0
        self.moved_at = time.monotonic()  # when the loop last got on
        self.last_good_at = -inf  # when a value was last read, on the monotonic clock
        self.last_step: tuple[float, float] | None = None  # of the wall clock: by how much, and when
        self.recent: deque[tuple[int, int]] = deque(maxlen=RECENT_POLLS)  # good and bad values of each

    async def __aenter__(self) -> Self:
        self._source = self._new_source(self._config)
        await self._source.__aenter__()
        self.moved_at = time.monotonic()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._source.__aexit__(kind, error, trace)

    @property
    def config(self) -> SiteConfig:
        """What is polled now."""
        return self._config

    @property
    def alive(self) -> bool:
        """Whether the loop gets on."""
        return time.monotonic() - self.moved_at < self.moved_s_max

    @property
    def unscored(self) -> list[str]:
        """The components that no model scores yet."""
        return [key.key for key, line in self._lines.items() if line.scorer is None]

    @property
    def scorers(self) -> Mapping[str, Scorer]:
        """The models in use, by component type."""
        return self._scorers

    def use(
        self, component_type: str, scorer: Scorer, windows: Mapping[ComponentId, WindowBuffer] | None = None
    ) -> None:
        """Score every component of this type with the model, those of a later configuration too; `windows`
        are those that it has already."""
        self._scorers[component_type] = scorer
        for key, line in self._lines.items():
            if line.component.type == component_type:
                line.use(scorer, (windows or {}).get(key))

    async def run(self) -> None:
        """Poll on the wall clock's multiples of the period; a poll that runs over skips, never piles up."""
        while True:
            self.moved_at = time.monotonic()
            if wait_s := self._schedule.wait_s():
                await asyncio.sleep(min(wait_s, SLEEP_S_MAX))
                continue  # and look again: the wall clock may have been set meanwhile
            async with self._between_polls:
                await self._poll()
            self._watch_the_clock()

    async def _poll(self) -> None:
        late_s, missed = self._schedule.begin()
        self._miss(missed)
        self._metrics.poll_start_delay.observe(max(0.0, late_s))
        with self._metrics.cycle_seconds.time():
            with self._metrics.poll_seconds.time():
                readings = await self._source.read()
            overrun = self._miss(self._schedule.end())
            scored = await self._take(readings)
        overrun += self._miss(self._schedule.end())
        self.polled.set()
        if self.afterwards is not None:
            self.afterwards(scored, overrun > 0)

    async def _take(self, readings: Sequence[Telemetry]) -> Scored:
        self._count(readings)
        records: list[Record] = []
        events: list[Event] = []
        notes: dict[str, str] = {}
        fresh = self._fresh(readings)
        with self._metrics.score_seconds.time():
            answers = score_together(fresh)
        for (line, reading), answer in zip(fresh, answers, strict=True):
            new_records, new_events = line.conclude(reading, answer)
            records += new_records
            events += new_events
            notes |= line.notes()
            self._metrics.predictions.inc(sum(isinstance(r, PredictionRecord) for r in new_records))
            for alert in new_records:
                if isinstance(alert, Alert) and alert.state is AlertState.RAISED:
                    self._metrics.alerts.labels(alert.kind).inc()
        if records:
            with self._metrics.commit_seconds.time():
                await self._recorder.keep(records, events, notes)
        return [(line, reading, answer) for (line, reading), answer in zip(fresh, answers, strict=True)]

    def _fresh(self, readings: Sequence[Telemetry]) -> list[tuple[Line, Telemetry]]:
        """What is new of a poll, with the line it goes to."""
        found = []
        for reading in readings:
            line = self._lines[reading.component_id]
            new = line.guard.check(reading)
            if new is None:
                self._metrics.repeats.inc()
            else:
                found.append((line, new))
        return found

    def _count(self, readings: Sequence[Telemetry]) -> None:
        self.polls += 1
        self._metrics.polls.inc()
        good, bad = sum(len(r.metrics) for r in readings), sum(len(r.quality) for r in readings)
        self.recent.append((good, bad))
        self._metrics.values.labels("good").inc(good)
        for quality, count in Counter(q for r in readings for q in r.quality.values()).items():
            self._metrics.values.labels(quality).inc(count)
        if good:
            self.last_good_at = time.monotonic()
        else:
            self.polls_failed += 1
            self._metrics.polls_failed.inc()

    def _miss(self, polls: int) -> int:
        """Counted before the reading after them is kept, so that the next heartbeat tells of them."""
        self.polls_missed += polls
        self._metrics.polls_missed.inc(polls)
        return polls

    def _watch_the_clock(self) -> None:
        if step_s := self._schedule.take_step_s():
            self.last_step = step_s, time.monotonic()
            self._metrics.clock_steps.inc()
            log.warning("the clock was set; polls go on", by_s=round(step_s, 3))

    @asynccontextmanager
    async def lines(self) -> AsyncIterator[Mapping[ComponentId, Line]]:
        """What is watched, by component; the body runs between two polls."""
        async with self._between_polls:
            yield self._lines

    # --- another configuration ------------------------------------------------------------------

    @asynccontextmanager
    async def changing(self, config: SiteConfig) -> AsyncIterator[None]:
        """Take another configuration between two polls; the body runs there, before the first of its polls.

        A new source is asked first whether it reads, while the old one goes on; where nothing about the
        plant changed the old one stays. Unchanged components keep their windows and alerts.
        """
        old = self._source
        async with AsyncExitStack() as undo:
            new, moved_s_max = old, await asyncio.to_thread(_moved_s_max, config)
            if not config.polls_like(self._config):
                new = await undo.enter_async_context(await asyncio.to_thread(self._new_source, config))
                await _warm_up(new, min(config.plant.poll_period_s, WARM_UP_WAIT_S_MAX))
            async with self._between_polls:
                yield
                self._source, self.moved_s_max = new, moved_s_max
                undo.pop_all()
                try:
                    await self._adopt(config)
                finally:
                    if new is not old:
                        await old.__aexit__(None, None, None)

    async def _adopt(self, config: SiteConfig) -> None:
        if config.plant.poll_period_s != self._config.plant.poll_period_s:
            self._schedule = PollSchedule(config.plant.poll_period_s)
        before, self._lines = self._lines, {}
        for key, component in config.components.items():
            kept = before.get(key)
            if kept is not None and kept.component == component:
                self._lines[key] = before.pop(key)
            else:
                self._lines[key] = self._new_line(key, config)
        self._config = config
        await self._end(list(before.values()))

    def _new_line(self, key: ComponentId, config: SiteConfig) -> Line:
        line = Line(key, config.components[key])
        scorer = self._scorers.get(line.component.type)
        if scorer is not None:
            line.use(scorer)
        return line

    async def _end(self, lines: Sequence[Line]) -> None:
        """Clear the alerts of components that are no longer watched as they were."""
        cleared = [alert for line in lines for alert in line.rules.end(utc_now())]
        if cleared:
            notes = {note_name(line.component_id): "" for line in lines}
            await self._recorder.keep(cleared, [alert_event(alert) for alert in cleared], notes)

    def _new_source(self, config: SiteConfig) -> Source:
        return source_for(self._site_id, config.plant, config.components)


def _moved_s_max(config: SiteConfig) -> float:
    """Seconds that a sound loop may stand still: between two looks at the clock, or at a silent plant."""
    plant = config.plant
    return min(plant.poll_period_s, SLEEP_S_MAX) + read_s_max(plant, config.components) + STALL_S


async def _warm_up(source: Source, wait_s: float) -> None:
    """Until each component was read once; a plant that is away or in part is not waited for any longer."""
    for _ in range(WARM_UP_READS_MAX):
        readings = await source.read()
        if all(reading.metrics for reading in readings):
            return
        await asyncio.sleep(wait_s)
