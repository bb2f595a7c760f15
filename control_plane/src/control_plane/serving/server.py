"""The inference server: one port for every protocol, with the same limits, credentials and metrics."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import grpc
from grpc_health.v1 import health, health_pb2

from control_plane.rpc.server import start_server
from control_plane.rpc.wrapping import Wrapper, Wrapping
from control_plane.serving.published import PublishedModels
from control_plane.serving.service import SERVICE, InferenceService
from shared.wire import rul_pb2_grpc

OPTION = "--inference-listen"
REQUEST_BYTES_MAX = 1024 * 1024  # a window of 1,000 cycles by 200 tags, and room
CALLS_MAX = 2000  # at a time; what is more is told RESOURCE_EXHAUSTED before its message is read

_STATUS = health_pb2.HealthCheckResponse


class Offered(NamedTuple):
    """A service beside our own: its full name, and what adds it to a server."""

    name: str
    add: Callable[[Wrapping], None]


class InferenceHealth:
    """`grpc.health.v1`: the services, and "" for the whole, are NOT_SERVING while there is no model."""

    def __init__(self, models: PublishedModels) -> None:
        self._models = models
        self.checks = health.aio.HealthServicer()
        self._names: tuple[str, ...] = ("",)

    async def of(self, *services: str) -> None:
        """Tell the health of these from now on."""
        self._names = (*services, "")
        await self.tell()

    async def tell(self) -> None:
        """Look whether there is a model."""
        status = _STATUS.SERVING if self._models.served() else _STATUS.NOT_SERVING
        for name in self._names:
            await self.checks.set(name, status)


async def start_inference_server(
    service: InferenceService,
    address: str,
    *,
    services: Sequence[Offered] = (),
    credentials: grpc.ServerCredentials | None = None,
    guards: Sequence[grpc.aio.ServerInterceptor] = (),
    wrappers: Sequence[Wrapper] = (),
    health_told: InferenceHealth | None = None,
    tls_ends_before: bool = False,
    shares_port: bool = False,
) -> grpc.aio.Server:
    """Serve; in clear on loopback only, or where TLS ends before it. ConfigError when the port is taken."""
    offered = [Offered(SERVICE, lambda server: _add(service, server)), *services]

    def add(server: Wrapping) -> None:
        for each in offered:
            each.add(server)

    names = [each.name for each in offered]
    if health_told is not None:
        await health_told.of(*names)
    return await start_server(
        address, OPTION, names, add, REQUEST_BYTES_MAX, credentials,
        calls_max=CALLS_MAX, guards=guards, wrappers=wrappers,
        checks=None if health_told is None else health_told.checks,
        tls_ends_before=tls_ends_before, shares_port=shares_port,
    )  # fmt: skip


def _add(service: InferenceService, server: Wrapping) -> None:
    rul_pb2_grpc.add_RULInferenceServiceServicer_to_server(service, server)
