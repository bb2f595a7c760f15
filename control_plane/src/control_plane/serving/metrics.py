"""What Prometheus sees of inference, at `/metrics` on loopback.

Names say `centre_inference_*`, the unit last; `method` is the gRPC method's own name.
"""

import asyncio
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import grpc
from prometheus_client import CollectorRegistry, Metric, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from control_plane.audit.prediction_logger import AuditLogger
from control_plane.rpc.wrapping import Handler
from control_plane.serving.engine import Engine
from control_plane.serving.published import PublishedModels
from shared.errors import ConfigError
from shared.listen import parse_endpoint, require_loopback

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0, 5.0)  # 0.3 s: PRD 5, test plan
WINDOWS = (1, 2, 4, 8, 16, 32, 64)  # of a run; 64 is an engine's largest

Context = grpc.aio.ServicerContext[Any, Any]


class InferenceMetrics(Collector):
    """Counts and times calls; an engine's `Meter` too.

    Plain numbers of one thread, made metrics at a scrape: prometheus_client's own take a lock for each.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls: Counter[tuple[str, str]] = Counter()
        self._seconds: dict[str, Spread] = {}
        self._batch, self._run_s = Spread(WINDOWS), 0.0
        self.registry.register(self)

    def ran(self, windows: int, took_s: float) -> None:
        """One run of an engine is over."""
        self._batch.note(windows)
        self._run_s += took_s

    def watching(self, method: str, handler: Handler) -> Handler:
        """A wrapper: the method, watched."""
        inner: Callable[..., Awaitable[Any]] = handler.unary_unary
        seconds = self._seconds.setdefault(method, Spread(SECONDS))
        fine = method, grpc.StatusCode.OK.name

        async def watched(request: Any, context: Context) -> Any:
            began = time.perf_counter()
            try:
                answer = await inner(request, context)
            except BaseException as error:
                self._calls[method, _code(error, context).name] += 1
                raise
            finally:
                seconds.note(time.perf_counter() - began)
            self._calls[fine] += 1
            return answer

        return handler._replace(unary_unary=watched)

    def collect(self) -> Iterator[Metric]:
        """All of it, as it is now."""
        calls = CounterMetricFamily("centre_inference_calls", "calls answered", labels=["method", "code"])
        for labels, count in list(self._calls.items()):
            calls.add_metric(labels, count)
        yield calls
        seconds = HistogramMetricFamily(
            "centre_inference_call_seconds", "from a call's message to its answer", labels=["method"]
        )
        for method, spread in self._seconds.items():
            seconds.add_metric([method], *spread.told())
        yield seconds
        batch = HistogramMetricFamily(
            "centre_inference_run_windows", "windows of callers that were run together"
        )
        batch.add_metric([], *self._batch.told())
        yield batch
        yield CounterMetricFamily("centre_inference_run_seconds", "in the models' graphs", value=self._run_s)


class Spread:
    """How often a value fell below each of some bounds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds, self._counts, self._sum = bounds, [0] * (len(bounds) + 1), 0.0

    def note(self, value: float) -> None:
        """One more."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def told(self) -> tuple[list[tuple[str, float]], float]:
        """Counts up to each bound, and the sum, as a histogram of Prometheus has them."""
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self._counts)), strict=True)), self._sum


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
