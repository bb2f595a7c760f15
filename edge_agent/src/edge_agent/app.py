"""The composition root: the only file that knows all rooms.

    source -> window -> score -> outbox -> forward
                          |        ^
                          +-> audit log      updater <- fleet stream

Started downstream first, ended upstream first: on SIGTERM the source stops, what is committed drains
within `DRAIN_DEADLINE_S`, the outbox closes last. Nothing the network does stops a poll.

    poller.py    polls, scores, keeps; takes another configuration between two polls
    centre.py    models, commands and co-signatures, from and to the centre
    reload.py    SIGHUP: reads the configuration again
    vitals.py    how the site is, for health/ to judge
    alarms/      what operators do about alarms; alarms of an earlier run
    recorder.py  records and their audit entries, durable together
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

import structlog

from edge_agent import __version__
from edge_agent.alarms import AlarmDesk, RequestSpool
from edge_agent.centre import APART_RETRY_S, Centre, stand_apart
from edge_agent.forward import ForwardCollector, Forwarder
from edge_agent.health import BacklogWatch, Changes, HealthServer, Metrics
from edge_agent.outbox import Outbox, OutboxStore
from edge_agent.poller import Poller
from edge_agent.recorder import Event, Recorder
from edge_agent.reload import Reloader
from edge_agent.settings import AgentSettings
from edge_agent.site_config import SiteConfig
from edge_agent.systemd import ServiceManager
from edge_agent.vitals import SiteVitals
from shared import collector
from shared.listen import parse_endpoint
from shared.log_key import LogKey
from shared.reactor_config import FleetConfig
from shared.schemas import AuditEvent, SiteStatus, utc_now

DRAIN_DEADLINE_S = 8.0  # `docker stop` and `podman stop` kill after 10 s, systemd after 90 s
STATUS_PERIOD_S = 2.0
CHECKPOINT_PERIOD_S = 5.0  # what is deleted before the first witnessed checkpoint goes unnoticed
CANCEL_AGAIN_S = 1.0  # to the parts that have not ended

log = structlog.get_logger()


class Agent:
    """One site: polls, scores, keeps, forwards; takes new models; runs until told to stop."""

    def __init__(self, settings: AgentSettings, fleet: FleetConfig) -> None:
        self._settings = settings
        self._config = SiteConfig.of(fleet, settings.site, str(settings.config))
        self._metrics = Metrics()
        self._manager = ServiceManager()
        self._reload_wanted = asyncio.Event()
        self._outbox = Outbox(OutboxStore(settings.data_dir / "outbox.db", settings.outbox))
        self._forwarder = Forwarder(
            self._outbox, settings.kafka, settings.site, self._config.hash, settings.kafka_client
        )
        self._metrics.registry.register(ForwardCollector(self._forwarder))
        self._changes = Changes(self._metrics.problems)

    def reload(self) -> None:
        """Read the configuration again, soon."""
        self._reload_wanted.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Everything, until `stop` is set and what is committed has drained (or the deadline passed)."""
        host, port = parse_endpoint(self._settings.health, "--health")
        key = LogKey.load_or_create(self._settings.data_dir / "audit.pem")
        async with self._outbox:
            recorder = Recorder(self._outbox, self._settings.site, key, self._metrics)
            await recorder.open()
            self._compose(recorder)
            collector.settle()
            with HealthServer(host, port, self._metrics.registry, self._vitals.health):
                await self._note(
                    AuditEvent.AGENT_STARTED, version=__version__, store_id=self._outbox.store_id
                )
                await self._note(AuditEvent.CONFIG_LOADED, hash=self._config.hash)
                forwarder_stop = threading.Event()
                forwarding = asyncio.create_task(self._forward(forwarder_stop))
                try:
                    await self._work(stop)
                    await self._note(AuditEvent.AGENT_STOPPED, polls=self._poller.polls)
                    await self._status()
                    await recorder.checkpoint()
                finally:
                    forwarder_stop.set()
                    await forwarding

    def _compose(self, recorder: Recorder) -> None:
        own, metrics = self._settings, self._metrics
        self._recorder = recorder
        self._poller = Poller(own.site, self._config, recorder, metrics)
        self._centre = Centre(own, self._outbox, recorder, self._poller, metrics)
        self._desk = AlarmDesk(RequestSpool(own.data_dir), self._poller, recorder)
        self._reloader = Reloader(own, self._poller, recorder, self._outbox, self._forwarder, metrics)
        bounds = own.outbox
        self._backlog = BacklogWatch(metrics, bounds.pending_rows_max, bounds.pending_bytes_max)
        self._vitals = SiteVitals(
            own, self._poller, recorder, self._reloader, self._backlog, self._forwarder, self._centre
        )

    async def _work(self, stop: asyncio.Event) -> None:
        """The parts that run side by side until `stop`."""
        await self._centre.resume()
        await self._desk.resume()
        async with self._poller, asyncio.TaskGroup() as tasks:
            started = [
                tasks.create_task(work)
                for work in (
                    self._poller.run(),
                    self._every(STATUS_PERIOD_S, self._status),
                    self._every(CHECKPOINT_PERIOD_S, self._recorder.checkpoint),
                    self._centre.look_for_updates(),
                    self._centre.follow(),
                    self._centre.keep_identity(),
                    self._centre.judge(),
                    self._centre.report(),
                    stand_apart("alarms", self._desk.run),
                    self._say_when_ready(),
                    self._manager.watch(lambda: self._poller.alive),
                    self._reload_when_told(),
                )
            ]
            await stop.wait()
            self._manager.stopping()
            await _end(started)
        await self._centre.close()

    async def _forward(self, stop: threading.Event) -> None:
        """On a thread of its own; what goes wrong there never stops a poll, and begins again."""
        while True:
            try:
                drained = await asyncio.to_thread(self._forwarder.run, stop, DRAIN_DEADLINE_S)
            except Exception:
                log.exception("failed; begins again, the site goes on", part="forwarder")
                if stop.is_set():
                    return
                await asyncio.sleep(APART_RETRY_S)
                continue
            if not drained:
                rows = (await self._outbox.stats()).pending_rows
                log.warning("not all forwarded; the outbox keeps the rest", rows=rows)
            return

    async def _say_when_ready(self) -> None:
        """Once the first poll is on the disk: from then on the site is looked after."""
        await self._poller.polled.wait()
        await self._status()
        self._manager.ready()

    async def _reload_when_told(self) -> None:
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            self._manager.reloading()
            await self._reloader.reload()
            await self._status()
            self._manager.ready()

    # --- what the site says of itself -----------------------------------------------------------

    async def _every(self, period_s: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await work()
            await asyncio.sleep(period_s)

    async def _note(self, event: AuditEvent, **detail: str | int | float | bool) -> None:
        """Put something about the site itself on the record."""
        await self._recorder.keep([], [Event(event, self._settings.site, detail=detail)])

    async def _status(self) -> None:
        stats = await self._outbox.stats()
        self._backlog.see(stats, self._forwarder.delivered, self._forwarder.dead_lettered)
        problems = self._vitals.problems()
        self._changes.see(problems)
        self._manager.status(self._vitals.in_a_line(problems))
        status = SiteStatus(
            timestamp=utc_now(),
            site_id=self._settings.site,
            agent_version=__version__,
            store_id=self._outbox.store_id,
            last_seq=stats.last_seq,
            settled_seq=stats.settled_seq,
            outbox_rows=stats.pending_rows,
            polls=self._poller.polls,
            polls_failed=self._poller.polls_failed,
            polls_missed=self._poller.polls_missed,
            models=self._centre.models,
        )
        await self._recorder.keep([status])


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: Python 3.11's `wait_for`, which libraries use, may swallow a cancellation
    that comes together with its result (python/cpython#86296)."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
