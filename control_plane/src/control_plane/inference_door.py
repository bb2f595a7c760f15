"""The centre's inference: the process that answers, those beside it on its port, their record and metrics."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from control_plane.enrolment.admission import Admission
from control_plane.inference_answering import Answering, InferenceSettings, Order, Releases
from control_plane.layout import Layout
from control_plane.serving.metrics import InferenceMetrics, InferenceState, MetricsServer
from control_plane.serving.server import OPTION
from control_plane.serving.server_dialled import TOKEN, ServerDialled, token_on_hand
from control_plane.serving.workers import Workers
from shared.errors import ConfigError, Retryable, Untrusted
from shared.listen import is_loopback, listener, parse_endpoint

if TYPE_CHECKING:
    from control_plane.objects.releases import FetchedReleases

METRICS_OPTION = "--inference-metrics"
FETCH_PERIOD_S = 60.0  # between two looks at an object store

log = structlog.get_logger()


def as_dialled(layout: Layout, settings: InferenceSettings) -> ServerDialled:
    """The door as this machine's own ingest dials it: over TLS where it is open beyond loopback; ConfigError
    where only the certificate of a site opens it."""
    host, port = parse_endpoint(settings.listen, OPTION)
    if is_loopback(host):
        return ServerDialled(settings.listen, token_on_hand())
    if settings.tokens is None:
        problem = f"is not given; beyond loopback the sink scoring shows one of its tokens, from {TOKEN}"
        raise ConfigError("--inference-tokens", [problem])
    name = settings.names[0] if settings.names else host
    shown = f"[{name}]" if ":" in name else name
    return ServerDialled(f"{shown}:{port}", token_on_hand(), layout.authority().path)


class InferenceDoor:
    """The centre's inference: this process answers, and so do those beside it; the record is written here.

    Open it within `async with`; `follow` takes up publications meanwhile.
    """

    def __init__(self, layout: Layout, settings: InferenceSettings, admission: Admission | None) -> None:
        self._layout, self._settings = layout, settings
        self._answering = Answering(layout, settings, admission, layout.centre_log())
        self._fetched = _fetched(settings.releases, layout) if settings.releases else None
        self._workers: Workers | None = None
        self._open = AsyncExitStack()

    async def open(self, say: Callable[[str], None]) -> None:
        """Serve from now on; ConfigError where that would be open to anybody, or a port is taken."""
        own = self._settings
        await self._fetch()
        async with AsyncExitStack() as opening:
            audit = opening.enter_context(self._layout.audit_logger())
            order = Order(self._layout.data_dir, replace(own, metrics=None, releases=None))
            self._workers = workers = Workers(own.processes - 1, order.line(), audit.tell)
            metrics = InferenceMetrics(workers.counts)
            metrics.registry.register(InferenceState(self._answering.models, self._waiting, audit))
            if own.metrics is not None:
                opening.callback(MetricsServer(metrics.registry, own.metrics, METRICS_OPTION).close)
                say(f"inference metrics  http://{own.metrics}/metrics")
            if own.processes > 1:  # a port that is shared is refused to nobody: not even another centre
                listener(own.listen, OPTION, tls=True).close()
            how = await self._answering.open(audit, metrics)
            self._open = opening.pop_all()
        many = f", {own.processes} processes" if own.processes > 1 else ""
        say(f"inference          {own.listen} (gRPC{how}{many})")

    async def follow(self) -> None:
        """Take up what is published, until cancelled; RuntimeError when a process beside this one ends."""
        assert self._workers is not None  # noqa: S101 - `open` has been called
        await self._answering.look()  # the first answers come before there are more processes
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._answering.follow())
            tasks.create_task(self._workers.run())
            tasks.create_task(self._follow_releases())

    async def _follow_releases(self) -> None:
        while self._fetched is not None:
            await asyncio.sleep(FETCH_PERIOD_S)
            await self._fetch()

    async def _fetch(self) -> None:
        """What does not verify, or does not come, leaves what was verified before."""
        if self._fetched is None:
            return
        try:
            await asyncio.to_thread(self._fetched.refresh)
        except (Retryable, Untrusted) as error:
            log.error("no new releases", reason=str(error))

    def _waiting(self) -> int:
        others = self._workers.counts() if self._workers is not None else []
        return self._answering.waiting + sum(each.waiting for each in others)

    async def close(self) -> None:
        """End calls within `STOP_GRACE_S`, then put the rest on the record."""
        workers = [self._workers.stop()] if self._workers is not None else []
        await asyncio.gather(self._answering.close(), *workers)
        await self._open.aclose()


def _fetched(releases: Releases, layout: Layout) -> "FetchedReleases":
    from control_plane.objects.bucket import Bucket  # of the extra `objects`
    from control_plane.objects.releases import FetchedReleases

    if not releases.root.is_file():
        raise ConfigError(
            "--releases-root", [f"{releases.root} is not there; it is 1.root.json of the repository"]
        )
    return FetchedReleases(Bucket(releases.address, "--releases"), releases.root, layout.repository)
