"""What Prometheus sees of inference, at `/metrics` on loopback.

Names say `centre_inference_*`, the unit last; `method` is the gRPC method's own name.
"""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any, Self

import grpc
import msgspec
from prometheus_client import CollectorRegistry, Metric, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from control_plane.audit.prediction_spool import PredictionSpool
from control_plane.rpc.wrapping import Handler
from control_plane.serving.published import PublishedModels
from shared.errors import ConfigError
from shared.listen import parse_endpoint, require_loopback

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0, 5.0)  # 0.3 s: PRD 5, test plan
WINDOWS = (1, 2, 4, 8, 16, 32, 64)  # of a run; 64 is an engine's largest

Context = grpc.aio.ServicerContext[Any, Any]


class Spread(msgspec.Struct):
    """How often a value fell below each of some bounds, and above the last; and the values' sum."""

    bounds: tuple[float, ...]
    counts: list[int]
    sum: float = 0.0

    @classmethod
    def of(cls, bounds: tuple[float, ...]) -> Self:
        """Nothing yet."""
        return cls(bounds, [0] * (len(bounds) + 1))

    def note(self, value: float) -> None:
        """One more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, other: "Spread") -> None:
        """Those of another, of the same bounds."""
        self.counts = [own + its for own, its in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum

    def told(self) -> tuple[list[tuple[str, float]], float]:
        """Counts up to each bound, and the sum, as a histogram of Prometheus has them."""
        names = [*map(floatToGoString, self.bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self.counts)), strict=True)), self.sum


class Counts(msgspec.Struct):
    """What one process counted since its start: calls by method and code, seconds of a call by method,
    windows of a run, seconds in graphs; and how many windows wait now."""

    calls: dict[str, dict[str, int]] = {}
    seconds: dict[str, Spread] = {}
    windows: Spread = msgspec.field(default_factory=lambda: Spread.of(WINDOWS))
    run_s: float = 0.0
    waiting: int = 0

    def add(self, other: "Counts") -> None:
        """Those of another process."""
        for method, codes in other.calls.items():
            own = self.calls.setdefault(method, {})
            for code, count in list(codes.items()):
                own[code] = own.get(code, 0) + count
        for method, spread in other.seconds.items():
            self.seconds.setdefault(method, Spread.of(spread.bounds)).add(spread)
        self.windows.add(other.windows)
        self.run_s += other.run_s
        self.waiting += other.waiting


class InferenceMetrics(Collector):
    """Counts and times calls; an engine's `Meter` too.

    Plain numbers of one thread, made metrics at a scrape: prometheus_client's own take a lock for each.
    `others` are the counts of processes that answer beside this one.
    """

    def __init__(self, others: Callable[[], Iterable[Counts]] = tuple) -> None:
        self.registry = CollectorRegistry()
        self.own, self._others = Counts(), others
        self.registry.register(self)

    def ran(self, windows: int, took_s: float) -> None:
        """One run of an engine is over."""
        self.own.windows.note(windows)
        self.own.run_s += took_s

    def watching(self, method: str, handler: Handler) -> Handler:
        """A wrapper: the method, watched."""
        inner: Callable[..., Awaitable[Any]] = handler.unary_unary
        seconds = self.own.seconds.setdefault(method, Spread.of(SECONDS))
        codes = self.own.calls.setdefault(method, {})
        fine = grpc.StatusCode.OK.name

        async def watched(request: Any, context: Context) -> Any:
            began = time.perf_counter()
            try:
                answer = await inner(request, context)
            except BaseException as error:
                code = _code(error, context).name
                codes[code] = codes.get(code, 0) + 1
                raise
            finally:
                seconds.note(time.perf_counter() - began)
            codes[fine] = codes.get(fine, 0) + 1
            return answer

        return handler._replace(unary_unary=watched)

    def all(self) -> Counts:
        """This process's and the others' together."""
        found = Counts()
        for each in (self.own, *self._others()):
            found.add(each)
        return found

    def collect(self) -> Iterator[Metric]:
        """All of it, as it is now."""
        found = self.all()
        calls = CounterMetricFamily("centre_inference_calls", "calls answered", labels=["method", "code"])
        for method, codes in found.calls.items():
            for code, count in codes.items():
                calls.add_metric([method, code], count)
        yield calls
        seconds = HistogramMetricFamily(
            "centre_inference_call_seconds", "from a call's message to its answer", labels=["method"]
        )
        for method, spread in found.seconds.items():
            seconds.add_metric([method], *spread.told())
        yield seconds
        batch = HistogramMetricFamily(
            "centre_inference_run_windows", "windows of callers that were run together"
        )
        batch.add_metric([], *found.windows.told())
        yield batch
        yield CounterMetricFamily("centre_inference_run_seconds", "in the models' graphs", value=found.run_s)


def _code(error: BaseException, context: Context) -> grpc.StatusCode:
    """What the call was ended with; the context holds it as a number."""
    if isinstance(error, asyncio.CancelledError):  # by the caller, or because its deadline passed
        return grpc.StatusCode.CANCELLED
    found: Any = context.code() if isinstance(error, grpc.aio.AbortError) else None
    known = {code.value[0]: code for code in grpc.StatusCode}
    return found if isinstance(found, grpc.StatusCode) else known.get(found, grpc.StatusCode.UNKNOWN)


class InferenceState(Collector):
    """What is true at the moment of a scrape."""

    def __init__(
        self, models: PublishedModels, waiting: Callable[[], int], audit: PredictionSpool | None
    ) -> None:
        self._models, self._waiting, self._audit = models, waiting, audit

    def collect(self) -> Iterator[Metric]:
        """The queue, the models, what the record lacks."""
        yield GaugeMetricFamily("centre_inference_waiting_windows", "in the queue", value=self._waiting())
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
