"""The Pipeline dashboard's queries, asked of a real Prometheus that scrapes what agent and centre export."""

import asyncio
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import httpx
import yaml
from prometheus_client import CollectorRegistry, start_http_server

from control_plane.ingest.metrics import IngestMetrics, IngestState
from control_plane.serving.metrics import InferenceMetrics, InferenceState
from control_plane.sinks.arrival import Arrival
from dashboards.check.asked import Json, queries, variables
from dashboards.check.compared import Failure, Result
from dashboards.check.macros import promql
from edge_agent.forward.metrics import ForwardCollector
from edge_agent.health import BacklogWatch, Changes, Metrics
from shared.envelope import Envelope
from shared.listen import free_port
from shared.schemas import GapRecord, Record, Telemetry, utc_now

SCRAPE_S, RATE_S, STEP_S = 1, 4, 1  # Grafana's $__rate_interval is four scrapes
READY_DEADLINE_S, STOP_DEADLINE_S, ANSWER_S = 90.0, 30.0, 30.0
LOOK_S = 0.2


class Prometheus:
    """Answers PromQL."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=ANSWER_S, trust_env=False)

    def values(self, query: str) -> int:
        """How many series a range query of the last seconds has; ValueError when it is not understood."""
        now = time.time()
        asked: dict[str, str | float] = {"query": query, "start": now - 10, "end": now, "step": STEP_S}
        answer = self._client.post("/api/v1/query_range", data=asked).json()
        if answer["status"] != "success":
            raise ValueError(answer["error"])
        return len(answer["data"]["result"])

    def label_values(self, metric: str, label: str) -> list[str]:
        """What a variable offers."""
        answer = self._client.get(f"/api/v1/label/{label}/values", params={"match[]": metric}).json()
        return list(answer["data"])

    def close(self) -> None:
        """End the connections."""
        self._client.close()


def pipeline_checked(dashboard: Json, config: Path, scratch: Path) -> Result:
    """Every query of the dashboard has an answer within `READY_DEADLINE_S`, or is told of."""
    with exporters() as targets, prometheus(config, targets, scratch) as asked:
        chosen = _chosen(dashboard, asked)
        wanted = {
            each.place: promql(each.query, chosen, 300, RATE_S)
            for each in queries(dashboard)
            if each.source == "prometheus"
        }
        open_ = _left_empty(asked, wanted)
    failures = [Failure(place, "empty", query) for place, query in open_.items()]
    return Result(len(wanted) + len(chosen), failures)


def _chosen(dashboard: Json, asked: Prometheus) -> dict[str, Sequence[str]]:
    """All agents; waits until Prometheus knows one."""
    found: dict[str, Sequence[str]] = {}
    for variable in variables(dashboard):
        metric, label = variable.query.removeprefix("label_values(").rstrip(")").split(",")
        deadline = time.monotonic() + READY_DEADLINE_S
        while not (values := asked.label_values(metric, label.strip())) and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        found[variable.name] = values or ["none"]
    return found


def _left_empty(asked: Prometheus, wanted: dict[str, str]) -> dict[str, str]:
    """A rate needs two scrapes, so empty ones are asked again until the deadline."""
    deadline = time.monotonic() + READY_DEADLINE_S
    open_ = dict(wanted)
    while open_ and time.monotonic() < deadline:
        open_ = {place: query for place, query in open_.items() if not asked.values(query)}
        if open_:
            time.sleep(LOOK_S)
    return open_


@contextmanager
def prometheus(config: Path, targets: dict[str, int], scratch: Path) -> Iterator[Prometheus]:
    """The program with our configuration; only addresses and the interval are this machine's."""
    document = yaml.safe_load(config.read_text())
    document["global"] = {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"}
    document["rule_files"] = [str(config.parent / name) for name in document["rule_files"]]
    for job in document["scrape_configs"]:
        job["static_configs"] = [{"targets": [f"127.0.0.1:{targets[job['job_name']]}"]}]
    own, port = scratch / "prometheus.yml", free_port()
    own.write_text(yaml.safe_dump(document))
    command = [
        "prometheus", f"--config.file={own}", f"--storage.tsdb.path={scratch / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
    ]  # fmt: skip
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    asked = Prometheus(f"http://127.0.0.1:{port}")
    try:
        _wait(asked, process)
        yield asked
    finally:
        asked.close()
        process.terminate()
        process.wait(STOP_DEADLINE_S)


def _wait(asked: Prometheus, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_DEADLINE_S
    while True:
        with suppress(httpx.HTTPError, ValueError):
            asked.values("1")
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"prometheus does not answer (exit code {process.returncode})")
        time.sleep(LOOK_S)


@contextmanager
def exporters() -> Iterator[dict[str, int]]:
    """Ports by job, where the metrics of a live agent and centre answer: the same objects as in theirs."""
    registries = {
        "edge-agent": _edge(), "centre-ingest": _ingest(), "centre-inference": _inference(),
    }  # fmt: skip
    with ExitStack() as stack:
        ports = {}
        for job, registry in registries.items():
            ports[job] = free_port()
            server, thread = start_http_server(ports[job], "127.0.0.1", registry)
            stack.callback(thread.join)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
        yield ports


def _edge() -> CollectorRegistry:
    metrics = Metrics()
    Changes(metrics.problems)
    stats = SimpleNamespace(
        pending_rows=12, pending_bytes=4_000, oldest_ms=int(time.time() * 1000) - 2_000,
        size_bytes=65_536, given_up_rows=3,
    )  # fmt: skip
    BacklogWatch(metrics, 1_000, 1_000_000).see(stats, 100, 1)
    for histogram in (metrics.cycle_seconds, metrics.poll_start_delay):
        histogram.observe(0.02)
    forwarder: Any = SimpleNamespace(held={}, restarts=0, trouble=None)
    metrics.registry.register(ForwardCollector(forwarder))
    return metrics.registry


def _ingest() -> CollectorRegistry:
    metrics, now = IngestMetrics(), utc_now()
    place = {"timestamp": now, "site_id": "TX01"}
    reading = Telemetry(**place, reactor_id="R1", component="coolant_pump", metrics={"flow_rate": 1.0})
    gap = GapRecord(**place, store_id="s", from_seq=1, to_seq=12, count=12, reason="outbox_full")
    found: list[Record] = [reading, gap]
    metrics.accept([Arrival(r, b"", Envelope(r.SCHEMA, "TX01", "s", i, "c")) for i, r in enumerate(found)])
    metrics.registry.register(IngestState(SimpleNamespace(repeats=2, dead_letters=1)))
    return metrics.registry


def _inference() -> CollectorRegistry:
    metrics = InferenceMetrics()
    nothing: Any = SimpleNamespace(served=list, failed=0)
    metrics.registry.register(InferenceState(nothing, lambda: 0, nothing))
    asyncio.run(_call(metrics))
    return metrics.registry


async def _call(metrics: InferenceMetrics) -> None:
    """One call, watched as the server's are."""

    async def answered(request: Any, _: Any) -> Any:
        return request

    handler: Any = grpc.unary_unary_rpc_method_handler(answered)
    watched = metrics.watching("/rul.Inference/Predict", handler)
    await watched.unary_unary(b"", None)
