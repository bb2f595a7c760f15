"""A process that answers what asks for predictions: both inference APIs on one port, with engine and models.

loopback             in clear; with a bearer token where there is a token file
beyond loopback      TLS of the centre's name, and a bearer token where there is a token file,
                     else the certificate of an enrolled site
on Cloud Run         in clear, a bearer token: the platform's front end ends TLS
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import grpc
import msgspec

from control_plane.audit.centre_log import CentreLog
from control_plane.audit.prediction_spool import PredictionSpool
from control_plane.enrolment.admission import Admission
from control_plane.layout import Layout
from control_plane.rpc.server import STOP_GRACE_S
from control_plane.serving.credentials import CertificateGuard, TokenGuard
from control_plane.serving.decoding import forgiving
from control_plane.serving.engine import Engine
from control_plane.serving.metrics import InferenceMetrics
from control_plane.serving.oip import SERVICE as OPEN_INFERENCE
from control_plane.serving.oip import OpenInferenceService
from control_plane.serving.published import Aliases, PublishedModels
from control_plane.serving.server import OPTION, InferenceHealth, Offered, start_inference_server
from control_plane.serving.service import InferenceService
from control_plane.serving.tokens import TokenFile
from control_plane.site_doors import server_credentials
from shared.errors import ConfigError
from shared.listen import is_loopback, parse_endpoint
from shared.wire.open_inference_pb2_grpc import add_GRPCInferenceServiceServicer_to_server

REFRESH_PERIOD_S = 2.0  # how soon a new publication is served


class Alias(NamedTuple):
    """One of MLflow's, and the tracking URI where it is kept."""

    name: str
    tracking_uri: str


class Releases(NamedTuple):
    """The address of signed repositories in an object store, and the root that was brought by hand."""

    address: str
    root: Path


@dataclass(frozen=True)
class InferenceSettings:
    """Addresses are HOST:PORT. `names` are what callers dial the centre by, for its certificate.

    `alias` chooses among the published releases; without it the newest of each type is served.
    `releases` is where the published ones come from, when it is not this centre's own folder. `front_end` is
    the platform that ends TLS before us, "" without one: then we serve in clear, and a token file is a must.
    `processes` answer on the one port.
    """

    listen: str
    names: tuple[str, ...] = ()
    tokens: Path | None = None
    metrics: str | None = None
    alias: Alias | None = None
    releases: Releases | None = None
    front_end: str = ""
    processes: int = 1


class Order(NamedTuple):
    """What a process that answers beside the first one is told."""

    data_dir: Path
    settings: InferenceSettings

    def line(self) -> bytes:
        """As one of JSON."""
        return msgspec.json.encode(self, enc_hook=str) + b"\n"  # paths

    @classmethod
    def read(cls, line: bytes) -> "Order":
        """What `line` wrote."""
        return msgspec.json.decode(line, type=cls, dec_hook=lambda kind, text: kind(text))


class Answering:
    """A process's server, its models and engine. `open` it, `follow` publications meanwhile, `close` it.

    `record` is where the soft gates put what they found.
    """

    def __init__(
        self,
        layout: Layout,
        settings: InferenceSettings,
        admission: Admission | None,
        record: CentreLog | None,
    ) -> None:
        self._layout, self._settings, self._admission = layout, settings, admission
        self.models = PublishedModels(layout.repository, record, _aliases(settings.alias))
        self._health = InferenceHealth(self.models)
        self._engine: Engine | None = None
        self._open = AsyncExitStack()

    @property
    def waiting(self) -> int:
        """Windows that wait to be run."""
        return self._engine.waiting if self._engine is not None else 0

    async def open(self, audit: PredictionSpool, metrics: InferenceMetrics) -> str:
        """Serve from now on, and say how one calls; ConfigError where that would be open to anybody, or the
        port is taken."""
        own = self._settings
        credentials, guards, how = self._credential()
        async with AsyncExitStack() as opening:
            self._engine = engine = Engine(metrics)
            opening.callback(engine.close)
            service = InferenceService(self.models, engine, audit)
            openly = OpenInferenceService(self.models, engine, audit)
            beside = Offered(
                OPEN_INFERENCE, lambda server: add_GRPCInferenceServiceServicer_to_server(openly, server)
            )
            server = await start_inference_server(
                service, own.listen, services=[beside], credentials=credentials,
                guards=guards, wrappers=[metrics.watching, forgiving], health_told=self._health,
                tls_ends_before=bool(own.front_end), shares_port=own.processes > 1,
            )  # fmt: skip
            opening.push_async_callback(server.stop, STOP_GRACE_S)
            self._open = opening.pop_all()
        return how

    async def look(self) -> None:
        """Take up what is published now."""
        await asyncio.to_thread(self.models.refresh)
        await self._health.tell()

    async def follow(self) -> None:
        """Take up what is published, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(REFRESH_PERIOD_S)

    async def close(self) -> None:
        """End calls within `STOP_GRACE_S`."""
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


def _aliases(alias: Alias | None) -> Aliases | None:
    """What asks MLflow for the alias; None without one, so that MLflow is not needed."""
    if alias is None:
        return None
    from control_plane.registry.mlflow_registry import ModelRegistry, RegistryAliases

    return RegistryAliases(ModelRegistry(alias.tracking_uri), alias.name)
