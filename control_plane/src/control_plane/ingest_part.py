"""Ingest with its sinks, as the centre runs it: what `control-plane ingest` and `serve` have in common."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from control_plane.ingest.centre_scoring import CentreScoring, standing_alerts
from control_plane.ingest.consumer import Ingest
from control_plane.ingest.known_rows import KnownRows
from control_plane.ingest.metrics import IngestMetrics, IngestState
from control_plane.ingest.progress import FILE_NAME, Progress
from control_plane.ingest.routing import Routed, Routes, SinkName
from control_plane.layout import Layout
from control_plane.serving.client import RULInferenceClient
from control_plane.serving.published_specs import PublishedSpecs
from control_plane.sinks.alerts import AlertSink, catch_up
from control_plane.sinks.arrival import Sink
from control_plane.sinks.influx import InfluxWriter
from control_plane.sinks.influx_feed import InfluxFeed
from control_plane.sinks.lake import LakeReader, LakeWriter
from control_plane.sinks.lake_lock import lake_lock
from control_plane.sinks.lake_upkeep import kept_up
from shared.errors import ConfigError, Retryable
from shared.kafka_client import KafkaClientSettings
from shared.reactor_config import FleetConfig

SCORING_DEADLINE_S = 2.0  # a server that is away holds up ingest by no more than this, now and then
INFERENCE_TOKEN = "PM_INFERENCE_TOKEN"  # noqa: S105 - the variable with the bearer token for it
METRICS_OPTION = "--ingest-metrics"
LAKE_LOCK_WAIT_S = 15.0  # for the ingest before this one, or an import, to end


class Influx(NamedTuple):
    """Where InfluxDB 2 is, when there is one."""

    url: str
    token: str
    org: str
    bucket: str


class Scoring(NamedTuple):
    """For the sink `scoring`: HOST:PORT of an inference server, the components, the published releases."""

    inference: str
    fleet: FleetConfig
    repository: Path
    token: str = ""


@dataclass(frozen=True)
class IngestSettings:
    """`kafka` is HOST:PORT; the lake and the list of alerts lie in the layout's folder."""

    layout: Layout
    kafka: str
    kafka_client: KafkaClientSettings = field(default_factory=KafkaClientSettings)
    influx: Influx | None = None
    routes: Routes = field(default_factory=Routes)
    scoring: Scoring | None = None
    metrics: str | None = None  # HOST:PORT for Prometheus, on loopback

    @property
    def lake(self) -> Path:
        """Where the lake lies."""
        return self.layout.lake


def run_ingest(own: IngestSettings, stop: threading.Event, ready: Callable[[], None] = lambda: None) -> None:
    """Consume until `stop`, calling `ready` once the lake is ours; Retryable while another process has it."""
    try:
        with lake_lock(own.lake, LAKE_LOCK_WAIT_S), kept_up(own.lake), _feed(own) as feed:
            lake = LakeWriter(own.lake)
            lake.create()
            store = own.layout.alert_store()
            alerts = AlertSink(store)
            catch_up(Routed("alerts", alerts, own.routes), store, LakeReader(own.lake))
            known, progress = KnownRows(LakeReader(own.lake).spans()), Progress(own.lake / FILE_NAME)
            counted = IngestMetrics()
            ingest = Ingest(
                own.kafka,
                [*_sinks(own, lake, alerts, feed, known), counted],
                known,
                progress=progress,
                client=own.kafka_client,
            )
            counted.registry.register(IngestState(ingest))
            with _metrics(own, counted):
                ready()
                ingest.run(stop)
    except Retryable as error:
        raise Retryable(
            f"{error}. One ingest writes to a lake, because what is new is decided in its memory; "
            "end that process, or start this one when it has ended"
        ) from error


@contextmanager
def _metrics(own: IngestSettings, counted: IngestMetrics) -> Iterator[None]:
    """`/metrics`, where that was asked for."""
    if own.metrics is None:
        yield
        return
    from control_plane.serving.metrics import MetricsServer  # with onnxruntime, which ingest does without

    with closing(MetricsServer(counted.registry, own.metrics, METRICS_OPTION)):
        yield


def _feed(own: IngestSettings) -> AbstractContextManager[InfluxFeed | None]:
    """What brings to InfluxDB all that is routed there, once the lake has it."""
    if not own.influx:
        return nullcontext()
    routes = own.routes

    def wanted(schema: str, key: str) -> bool:
        return "influx" in routes.sinks_of(schema, key)

    return InfluxFeed(own.lake, InfluxWriter(*own.influx), wanted)


def _sinks(
    own: IngestSettings, lake: LakeWriter, alerts: Sink, feed: InfluxFeed | None, known: KnownRows
) -> list[Sink]:
    """The lake comes last: a record that it holds is a repeat after a death, and no other sink would get it.

    So the others may see a record twice, and take it for the same by `(store_id, seq)` or its time.
    """
    found: dict[SinkName, Sink] = {"alerts": alerts}
    if feed:
        found["influx"] = feed
    found["lake"] = lake
    sinks: list[Sink] = [Routed(name, sink, own.routes) for name, sink in found.items()]
    if own.scoring is not None and own.routes.names("scoring"):
        found["scoring"] = _scoring(own, own.scoring, sinks, known)
        sinks.insert(0, Routed("scoring", found["scoring"], own.routes))
    missing = [name for name in ("influx", "scoring") if own.routes.names(name) and name not in found]
    if missing:
        raise ConfigError("--routes", [f"a rule names {name}, which is not set up here" for name in missing])
    return sinks


def _scoring(own: IngestSettings, how: Scoring, sinks: Sequence[Sink], known: KnownRows) -> CentreScoring:
    """Its predictions go the way of all records."""
    standing = standing_alerts(LakeReader(own.lake))
    client = RULInferenceClient(how.inference, token=how.token, deadline_s=SCORING_DEADLINE_S)
    return CentreScoring(client, PublishedSpecs(how.repository), how.fleet, sinks, known, standing)
