"""The composition root: the only file that knows all rooms.

    source -> window -> score -> outbox -> forward
                          |        ^
                          +-> audit log      updater <- fleet stream

Started downstream first, ended upstream first: on SIGTERM the source stops, what is committed drains
within `DRAIN_DEADLINE_S`, the outbox closes last. Nothing the network does stops a poll.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from math import ceil, inf

import structlog
from packaging.version import Version

from edge_agent import __version__
from edge_agent.forward import ForwardCollector, Forwarder
from edge_agent.health import Health, HealthServer, Metrics, State
from edge_agent.line import Line
from edge_agent.outbox import Outbox, OutboxStore
from edge_agent.recorder import Detail, Event, Recorder
from edge_agent.scoring import Scorer
from edge_agent.settings import AgentSettings
from edge_agent.sources import Source, source_for
from edge_agent.update import FleetClient, ModelSlots, Release, ReleaseClient, Updater
from shared.errors import ConfigError, Untrusted
from shared.listen import parse_endpoint
from shared.log_key import LogKey
from shared.reactor_config import FleetConfig
from shared.schemas import (
    Alert,
    AuditEvent,
    ModelRef,
    PredictionRecord,
    Record,
    SiteStatus,
    Telemetry,
    utc_now,
)
from shared.wire import fleet_pb2

DRAIN_DEADLINE_S = 10.0  # systemd's default TimeoutStopSec is 90 s; an operator waits less
STATUS_PERIOD_S = 2.0
CHECKPOINT_PERIOD_S = 5.0  # what is deleted before the first witnessed checkpoint goes unnoticed
UPDATE_RETRY_S = 2.0  # after a command, while the repositories cannot be fetched
UPDATE_PERIOD_S = 60.0  # a look at the repositories even when the fleet service never calls
APART_RETRY_S = 5.0  # before a part that failed unexpectedly begins again
CANCEL_AGAIN_S = 1.0  # to the parts that have not ended
DOWN_AFTER_PERIODS = 10  # polls without one good value before the site counts as down

log = structlog.get_logger()


class Agent:
    """One site: polls, scores, keeps, forwards; takes new models; runs until told to stop."""

    def __init__(self, settings: AgentSettings, fleet: FleetConfig) -> None:
        if settings.site not in fleet.sites:
            known = ", ".join(fleet.sites)
            raise ConfigError("--site", [f"found {settings.site!r}; {settings.config} has {known}"])
        self._settings, self._config_hash = settings, fleet.hash()
        self._plant = fleet.sites[settings.site].plant
        self._lines = {key: Line(key, c) for key, c in fleet.components(settings.site).items()}
        self._metrics = Metrics()
        self._polls = self._polls_failed = 0
        self._last_good = -inf
        self._outbox = Outbox(OutboxStore(settings.data_dir / "outbox.db"))
        self._recorder: Recorder
        self._models: dict[str, ModelRef] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Everything, until `stop` is set and what is committed has drained (or the deadline passed)."""
        host, port = parse_endpoint(self._settings.health, "--health")
        key = LogKey.load_or_create(self._settings.data_dir / "audit.pem")
        with HealthServer(host, port, self._metrics.registry, self._health):
            async with self._outbox:
                self._recorder = Recorder(self._outbox, self._settings.site, key, self._metrics)
                await self._recorder.open()
                await self._note(
                    AuditEvent.AGENT_STARTED, version=__version__, store_id=self._outbox.store_id
                )
                await self._note(AuditEvent.CONFIG_LOADED, hash=self._config_hash)
                forwarder_stop = threading.Event()
                forwarding = asyncio.create_task(self._forward(forwarder_stop))
                try:
                    await self._work(stop)
                    await self._note(AuditEvent.AGENT_STOPPED, polls=self._polls)
                    await self._status()
                    await self._recorder.checkpoint()
                finally:
                    forwarder_stop.set()
                    await forwarding

    async def _forward(self, stop: threading.Event) -> None:
        """On a thread of its own; what goes wrong there never stops a poll, and begins again."""
        own = self._settings
        forwarder = Forwarder(self._outbox, own.kafka, own.site, self._config_hash, own.kafka_client)
        self._metrics.registry.register(ForwardCollector(forwarder))
        while True:
            try:
                drained = await asyncio.to_thread(forwarder.run, stop, DRAIN_DEADLINE_S)
            except Exception:
                log.exception("failed; begins again, the site goes on", part="forwarder")
                if stop.is_set():
                    return
                await asyncio.sleep(APART_RETRY_S)
                continue
            if not drained:
                log.warning("not all forwarded", rows=(await self._outbox.stats()).pending_rows)
            return

    async def _work(self, stop: asyncio.Event) -> None:
        """The parts that run side by side until `stop`."""
        own = self._settings
        client = ReleaseClient(own.data_dir, own.trust_dir, own.repository, own.site)
        slots = ModelSlots(own.data_dir, own.trust_dir)
        updater = Updater(client, slots, self._install, self._record)
        await updater.resume()
        stream = FleetClient(own.fleet, self._hello, partial(self._on_command, updater), self._on_witnessed)
        source = source_for(own.site, self._plant, {key: line.component for key, line in self._lines.items()})
        async with source, asyncio.TaskGroup() as tasks:
            started = [
                tasks.create_task(work)
                for work in (
                    self._poll_for_ever(source),
                    self._every(STATUS_PERIOD_S, self._status),
                    self._every(CHECKPOINT_PERIOD_S, self._recorder.checkpoint),
                    self._stand_apart("updates", partial(self._look_for_updates, updater)),
                    self._stand_apart("fleet stream", stream.run),
                )
            ]
            await stop.wait()
            await _end(started)

    async def _poll_for_ever(self, source: Source) -> None:
        """Poll on the wall clock's multiples of the period; a poll that runs over skips, never piles up."""
        period = self._plant.poll_period_s
        due = ceil(time.time() / period) * period
        while True:
            await asyncio.sleep(max(0.0, due - time.time()))
            with self._metrics.poll_seconds.time():
                readings = await source.read()
            await self._take(readings)
            missed = max(0, int((time.time() - due) / period))
            self._metrics.polls_missed.inc(missed)
            due += (missed + 1) * period

    async def _take(self, readings: Sequence[Telemetry]) -> None:
        self._count(readings)
        records: list[Record] = []
        events: list[Event] = []
        for reading in readings:
            line = self._lines[reading.component_id]
            fresh = line.guard.check(reading)
            if fresh is None:
                self._metrics.repeats.inc()
                continue
            with self._metrics.score_seconds.time():
                new_records, new_events = line.take(fresh)
            records += new_records
            events += new_events
            self._metrics.predictions.inc(sum(isinstance(r, PredictionRecord) for r in new_records))
            for alert in new_records:
                if isinstance(alert, Alert) and alert.state == "raised":
                    self._metrics.alerts.labels(alert.kind).inc()
        if records:
            await self._recorder.keep(records, events)

    def _count(self, readings: Sequence[Telemetry]) -> None:
        self._polls += 1
        self._metrics.polls.inc()
        good = sum(len(r.metrics) for r in readings)
        self._metrics.values.labels("good").inc(good)
        self._metrics.values.labels("bad").inc(sum(len(r.quality) for r in readings))
        if good:
            self._last_good = time.monotonic()
        else:
            self._polls_failed += 1
            self._metrics.polls_failed.inc()

    # --- models ---------------------------------------------------------------------------------

    async def _look_for_updates(self, updater: Updater) -> None:
        while True:
            outcome = await updater.apply()
            if outcome.away:
                log.warning("no look at the repositories", reason=outcome.away)
            await asyncio.sleep(UPDATE_PERIOD_S)

    async def _install(self, release: Release) -> None:
        """Golden check on this machine, then score with it; Untrusted keeps the model in use."""
        manifest = release.manifest
        if Version(manifest.oldest_agent_version) > Version(__version__):
            raise Untrusted(
                "agent version",
                f"{manifest.folder} needs {manifest.oldest_agent_version}; this agent is {__version__}",
            )
        scorer = await asyncio.to_thread(Scorer.load, manifest, release.model)
        for line in self._lines.values():
            if line.component.type == manifest.component_type:
                line.use(scorer)
        self._models[manifest.component_type] = scorer.model_ref

    async def _record(self, event: AuditEvent, detail: Detail) -> None:
        if event is AuditEvent.MODEL_REFUSED:
            self._metrics.models_refused.labels(detail["check"]).inc()
        await self._note(event, **detail)

    async def _on_command(self, updater: Updater, command: fleet_pb2.Command) -> fleet_pb2.Acknowledgement:
        """Look at the repositories because the centre says so; the answer says what came of it."""
        outcome = await updater.apply()
        while outcome.away:
            await asyncio.sleep(UPDATE_RETRY_S)
            outcome = await updater.apply()
        committed, detail = outcome.answer(command.rollout_id)
        answer = fleet_pb2.Acknowledgement
        return answer(
            rollout_id=command.rollout_id,
            generation=command.generation,
            state=answer.COMMITTED if committed else answer.REFUSED,
            detail=detail,
            models=self._running(),
        )

    async def _on_witnessed(self, size: int, note: str) -> None:
        """Keep the centre's co-signature beside the log: this site's proof of what it sent."""
        path = self._settings.data_dir / "witnessed.note"
        temporary = path.with_suffix(".new")
        await asyncio.to_thread(temporary.write_text, note)
        temporary.rename(path)
        log.debug("checkpoint co-signed", size=size)

    def _hello(self) -> fleet_pb2.Hello:
        return fleet_pb2.Hello(
            site_id=self._settings.site,
            agent_version=__version__,
            store_id=self._outbox.store_id,
            audit_public_key=str(self._recorder.log.verifier),
            models=self._running(),
        )

    def _running(self) -> list[fleet_pb2.RunningModel]:
        return [
            fleet_pb2.RunningModel(component_type=kind, name=ref.name, version=ref.version, sha256=ref.sha256)
            for kind, ref in self._models.items()
        ]

    # --- what the site says of itself -----------------------------------------------------------

    async def _stand_apart(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """What deals with the centre may fail in ways nobody thought of: never may the polls."""
        while True:
            try:
                await work()
            except Exception:
                log.exception("failed; begins again, the site goes on", part=name)
            await asyncio.sleep(APART_RETRY_S)

    async def _every(self, period_s: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await work()
            await asyncio.sleep(period_s)

    async def _note(self, event: AuditEvent, **detail: str | int | float | bool) -> None:
        """Put something about the site itself on the record."""
        await self._recorder.keep([], [Event(event, self._settings.site, detail=detail)])

    async def _status(self) -> None:
        stats = await self._outbox.stats()
        self._metrics.outbox_rows.set(stats.pending_rows)
        self._metrics.outbox_bytes.set(stats.size_bytes)
        age = time.time() - stats.oldest_ms / 1000 if stats.oldest_ms else 0.0
        self._metrics.outbox_age.set(age)
        status = SiteStatus(
            timestamp=utc_now(),
            site_id=self._settings.site,
            agent_version=__version__,
            store_id=self._outbox.store_id,
            last_seq=stats.last_seq,
            outbox_rows=stats.pending_rows,
            polls=self._polls,
            polls_failed=self._polls_failed,
            models=self._models,
        )
        await self._recorder.keep([status])

    def _health(self) -> Health:
        down, degraded = [], []
        silent_s = time.monotonic() - self._last_good
        if silent_s > DOWN_AFTER_PERIODS * self._plant.poll_period_s:
            down.append(
                f"no value could be read for {silent_s:.0f} s" if silent_s < inf else "nothing read yet"
            )
        if self._recorder.failing:
            down.append(self._recorder.failing)
        unscored = [key.key for key, line in self._lines.items() if line.scorer is None]
        if unscored:
            degraded.append(f"no model yet for {', '.join(unscored)}")
        state = State.DOWN if down else State.DEGRADED if degraded else State.OK
        return Health(state, down + degraded)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: Python 3.11's `wait_for`, which libraries use, may swallow a cancellation
    that comes together with its result (python/cpython#86296)."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
