"""What Prometheus sees of inference, at `/metrics` on loopback.

Names say `centre_inference_*`, the unit last; `method` is the gRPC method's own name.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from control_plane.audit.prediction_logger import AuditLogger
from control_plane.serving.engine import Engine
from control_plane.serving.published import PublishedModels
from shared.errors import ConfigError
from shared.listen import parse_endpoint, require_loopback

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0, 5.0)  # 0.3 s: PRD 5, test plan
WINDOWS = (1, 2, 4, 8, 16, 32, 64)  # of a run; 64 is an engine's largest

Handler = Any  # grpc.RpcMethodHandler is generic to a type checker alone
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]
Context = grpc.aio.ServicerContext[Any, Any]


class InferenceMetrics(grpc.aio.ServerInterceptor):
    """Counts and times the calls that pass it; an engine's `Meter` too."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ["method", "code"]
        self._calls = Counter("centre_inference_calls", "calls answered", labels, registry=self.registry)
        self._seconds = Histogram(
            "centre_inference_call_seconds", "from a call's message to its answer", ["method"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._batch = Histogram(
            "centre_inference_run_windows", "windows of callers that were run together",
            buckets=WINDOWS, registry=self.registry,
        )  # fmt: skip
        self._run_seconds = Counter(
            "centre_inference_run_seconds", "in the models' graphs", registry=self.registry
        )
        self._handlers: dict[str, Handler] = {}

    def ran(self, windows: int, took_s: float) -> None:
        """One run of an engine is over."""
        self._batch.observe(windows)
        self._run_seconds.inc(took_s)

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The method, watched where it has one question and one answer."""
        found = await continuation(details)
        if found is None or found.unary_unary is None:
            return found
        known = self._handlers.get(details.method)
        if known is None:
            watched = self._watched(details.method, found.unary_unary)
            known = self._handlers[details.method] = found._replace(unary_unary=watched)
        return known

    def _watched(self, path: str, inner: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        method = path.rpartition("/")[2]
        seconds, fine = self._seconds.labels(method), self._calls.labels(method, grpc.StatusCode.OK.name)

        async def watched(request: Any, context: Context) -> Any:
            began = time.perf_counter()
            try:
                answer = await inner(request, context)
            except BaseException as error:
                self._calls.labels(method, _code(error, context).name).inc()
                raise
            finally:
                seconds.observe(time.perf_counter() - began)
            fine.inc()
            return answer

        return watched


def _code(error: BaseException, context: Context) -> grpc.StatusCode:
    """What the call was ended with; the context holds it as a number."""
    if isinstance(error, asyncio.CancelledError):  # by the caller, or because its deadline passed
        return grpc.StatusCode.CANCELLED
    found: Any = context.code() if isinstance(error, grpc.aio.AbortError) else None
    known = {code.value[0]: code for code in grpc.StatusCode}
    return found if isinstance(found, grpc.StatusCode) else known.get(found, grpc.StatusCode.UNKNOWN)


class InferenceState(Collector):
    """What is true at the moment of a scrape."""

    def __init__(self, models: PublishedModels, engine: Engine, audit: AuditLogger | None) -> None:
        self._models, self._engine, self._audit = models, engine, audit

    def collect(self) -> Iterator[Metric]:
        """The queue, the models, what the record lacks."""
        yield GaugeMetricFamily(
            "centre_inference_waiting_windows", "in the queue", value=self._engine.waiting
        )
        model = GaugeMetricFamily(
            "centre_inference_model", "1 for each model that is served",
            labels=["component_type", "release", "sha256", "registered", "alias"],
        )  # fmt: skip
        for served in self._models.served():
            own = served.model.manifest
            model.add_metric([own.component_type, own.folder, own.sha256, served.registered, served.alias], 1)
        yield model
        if self._audit is not None:
            yield CounterMetricFamily(
                "centre_inference_audit_failures",
                "answers that could not be put on the record",
                value=self._audit.failed,
            )


class MetricsServer:
    """`/metrics` over HTTP, on a thread of its own."""

    def __init__(self, registry: CollectorRegistry, address: str, option: str) -> None:
        """ConfigError beyond loopback, or when the port is taken."""
        host, port = parse_endpoint(address, option)
        require_loopback(host, option)
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise ConfigError(option, [f"{address} cannot be used: {error.strerror}"]) from error

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
