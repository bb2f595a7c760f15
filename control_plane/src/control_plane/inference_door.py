"""What asks for predictions dials: both inference APIs on one port, with their engine, record and metrics.

loopback             in clear; with a bearer token where there is a token file
beyond loopback      TLS of the centre's name, and a bearer token where there is a token file,
                     else the certificate of an enrolled site
on Cloud Run         in clear, a bearer token: the platform's front end ends TLS
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import grpc
import structlog

from control_plane.enrolment.admission import Admission
from control_plane.layout import Layout
from control_plane.rpc.server import STOP_GRACE_S
from control_plane.serving.credentials import CertificateGuard, TokenGuard
from control_plane.serving.decoding import forgiving
from control_plane.serving.engine import Engine
from control_plane.serving.metrics import InferenceMetrics, InferenceState, MetricsServer
from control_plane.serving.oip import SERVICE as OPEN_INFERENCE
from control_plane.serving.oip import OpenInferenceService
from control_plane.serving.published import Aliases, PublishedModels
from control_plane.serving.server import OPTION, InferenceHealth, Offered, start_inference_server
from control_plane.serving.server_dialled import TOKEN, ServerDialled, token_on_hand
from control_plane.serving.service import InferenceService
from control_plane.serving.tokens import TokenFile
from control_plane.site_doors import server_credentials
from shared.errors import ConfigError, Retryable, Untrusted
from shared.listen import is_loopback, parse_endpoint
from shared.wire.open_inference_pb2_grpc import add_GRPCInferenceServiceServicer_to_server

if TYPE_CHECKING:
    from control_plane.objects.releases import FetchedReleases

METRICS_OPTION = "--inference-metrics"
FETCH_PERIOD_S = 60.0  # between two looks at an object store

log = structlog.get_logger()


class Releases(NamedTuple):
    """The address of signed repositories in an object store, and the root that was brought by hand."""

    address: str
    root: Path


@dataclass(frozen=True)
class InferenceSettings:
    """Addresses are HOST:PORT. `names` are what callers dial the centre by, for its certificate.

    `aliases` choose among the published releases; without them the newest of each type is served.
    `releases` is where the published ones come from, when it is not this centre's own folder. `front_end` is
    the platform that ends TLS before us, "" without one: then we serve in clear, and a token file is a must.
    """

    listen: str
    names: tuple[str, ...] = ()
    tokens: Path | None = None
    metrics: str | None = None
    aliases: Aliases | None = None
    releases: Releases | None = None
    front_end: str = ""


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
    """Open it within `async with`; `follow` takes up publications meanwhile."""

    def __init__(self, layout: Layout, settings: InferenceSettings, admission: Admission | None) -> None:
        self._layout, self._settings, self._admission = layout, settings, admission
        self._models = PublishedModels(layout.repository, layout.centre_log(), settings.aliases)
        self._health = InferenceHealth(self._models)
        self._service: InferenceService | None = None
        self._fetched = _fetched(settings.releases, layout) if settings.releases else None
        self._open = AsyncExitStack()

    async def open(self, say: Callable[[str], None]) -> None:
        """Serve from now on; ConfigError where that would be open to anybody, or a port is taken."""
        own, metrics = self._settings, InferenceMetrics()
        await self._fetch()
        credentials, guards, how = self._credential()
        async with AsyncExitStack() as opening:
            audit = opening.enter_context(self._layout.audit_logger())
            engine = Engine(metrics)
            opening.callback(engine.close)
            metrics.registry.register(InferenceState(self._models, engine, audit))
            if own.metrics is not None:
                opening.callback(MetricsServer(metrics.registry, own.metrics, METRICS_OPTION).close)
                say(f"inference metrics  http://{own.metrics}/metrics")
            self._service = InferenceService(self._models, engine, audit)
            openly = OpenInferenceService(self._models, engine, audit)
            beside = Offered(
                OPEN_INFERENCE, lambda server: add_GRPCInferenceServiceServicer_to_server(openly, server)
            )
            server = await start_inference_server(
                self._service, own.listen, services=[beside], credentials=credentials,
                guards=guards, wrappers=[metrics.watching, forgiving], health_told=self._health,
                tls_ends_before=bool(own.front_end),
            )  # fmt: skip
            opening.push_async_callback(server.stop, STOP_GRACE_S)
            self._open = opening.pop_all()
        say(f"inference          {own.listen} (gRPC{how})")

    async def follow(self) -> None:
        """Take up what is published, until cancelled."""
        assert self._service is not None  # noqa: S101 - `open` has been called
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._service.follow_publications(self._health.tell))
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

    async def close(self) -> None:
        """End calls within `STOP_GRACE_S`, then put the rest on the record."""
        await self._open.aclose()

    def _credential(
        self,
    ) -> tuple[grpc.ServerCredentials | None, list[grpc.aio.ServerInterceptor], str]:
        """TLS, what looks at callers, and how to say it; ConfigError where nobody would be refused."""
        own = self._settings
        tokens = TokenFile(own.tokens) if own.tokens is not None else None
        if tokens is not None:
            tokens.read()
        guards: list[grpc.aio.ServerInterceptor] = [TokenGuard(tokens)] if tokens is not None else []
        if own.front_end:
            if not guards:
                problem = f"is not given; {own.front_end} ends TLS before us and lets in whom it likes"
                raise ConfigError("--inference-tokens", [problem])
            return None, guards, f", TLS ends at {own.front_end}, bearer token"
        if is_loopback(parse_endpoint(own.listen, OPTION)[0]):
            return None, guards, ", bearer token" if guards else ""
        if not own.names:
            raise ConfigError(
                OPTION,
                [f"found {own.listen!r}; beyond loopback it speaks TLS: give --centre-name, as dialled"],
            )
        files = self._layout.authority().server_files(own.names)
        if guards:
            return server_credentials(files, mutual=False), guards, ", TLS, bearer token"
        assert self._admission is not None  # noqa: S101 - there is one where there are names
        return server_credentials(files, mutual=True), [CertificateGuard(self._admission)], ", mutual TLS"


def _fetched(releases: Releases, layout: Layout) -> "FetchedReleases":
    from control_plane.objects.bucket import Bucket  # of the extra `objects`
    from control_plane.objects.releases import FetchedReleases

    if not releases.root.is_file():
        raise ConfigError(
            "--releases-root", [f"{releases.root} is not there; it is 1.root.json of the repository"]
        )
    return FetchedReleases(Bucket(releases.address, "--releases"), releases.root, layout.repository)
