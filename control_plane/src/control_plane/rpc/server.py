"""A gRPC server as every service here has it: loopback, health, reflection, its port for itself."""

from collections.abc import Callable, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from control_plane.rpc.wrapping import Wrapper, Wrapping
from shared.errors import ConfigError
from shared.listen import parse_endpoint, require_loopback

STOP_GRACE_S = 1.0  # streams never end by themselves; a call that is being answered may
CALLS_MAX = 5000  # at a time: a fleet of a thousand sites, each with a stream and another that replaces it
PING_PERIOD_MIN_MS = 10_000  # sites ping a silent stream every 20 s; gRPC would hang up on them
_OPTIONS = (("grpc.http2.min_ping_interval_without_data_ms", PING_PERIOD_MIN_MS),)


async def start_server(
    address: str,
    option: str,
    services: str | Sequence[str],
    add: Callable[[Wrapping], None],
    message_bytes_max: int,
    credentials: grpc.ServerCredentials | None = None,
    *,
    calls_max: int = CALLS_MAX,
    guards: Sequence[grpc.aio.ServerInterceptor] = (),
    wrappers: Sequence[Wrapper] = (),
    checks: health.aio.HealthServicer | None = None,
    tls_ends_before: bool = False,
    shares_port: bool = False,
) -> grpc.aio.Server:
    """Start serving `services` at HOST:PORT, on loopback unless there are TLS credentials; ConfigError naming
    `option` when that cannot be. `wrappers` stand around their methods. Their health is told by `checks`;
    without, they serve from now on. Where TLS ends before it, at a platform's front end, it serves in clear
    anywhere. Where it `shares_port`, processes of ours listen there too, and the kernel deals out who calls.
    """
    host, _ = parse_endpoint(address, option)
    if credentials is None and not tls_ends_before:
        require_loopback(host, option)
    names = [services] if isinstance(services, str) else [*services]
    server = grpc.aio.server(
        interceptors=[*guards],
        options=[
            ("grpc.max_receive_message_length", message_bytes_max),
            ("grpc.so_reuseport", int(shares_port)),
            *_OPTIONS,
        ],
        maximum_concurrent_rpcs=calls_max,
    )
    add(Wrapping(server, wrappers))
    plain: Any = Wrapping(server)  # not a `grpc.aio.Server` to a type checker
    if checks is None:
        checks = health.aio.HealthServicer()
        for name in (*names, ""):
            await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, plain)
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], plain)
    try:
        if credentials is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise ConfigError(option, [f"{address} cannot be used: it is taken"]) from error
    await server.start()
    return server
