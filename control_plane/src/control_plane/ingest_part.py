"""Ingest with its sinks, as the centre runs it: what `control-plane ingest` and `serve` have in common."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from control_plane.alerts.channels import channels
from control_plane.alerts.notifier import Notifier
from control_plane.alerts.settings import NoticeSettings
from control_plane.alerts.store import AlertStore
from control_plane.ingest.centre_scoring import CentreScoring, standing_alerts
from control_plane.ingest.consumer import Ingest
from control_plane.ingest.known_rows import KnownRows
from control_plane.ingest.metrics import IngestMetrics, IngestState
from control_plane.ingest.missed_windows import MissedWindows
from control_plane.ingest.progress import FILE_NAME, Progress
from control_plane.ingest.routed import Routed
from control_plane.ingest.routing import Routes, SinkName
from control_plane.layout import Layout
from control_plane.serving.client import RULInferenceClient
from control_plane.serving.published_specs import PublishedSpecs
from control_plane.serving.server_dialled import ServerDialled
from control_plane.sinks.alerts import AlertSink, catch_up
from control_plane.sinks.arrival import Sink
from control_plane.sinks.influx import InfluxWriter
from control_plane.sinks.influx_feed import InfluxFeed
from control_plane.sinks.lake import LakeReader, LakeWriter
from control_plane.sinks.lake_lock import lake_lock
from control_plane.sinks.lake_place import address_of
from control_plane.sinks.lake_upkeep import kept_up
from shared.errors import ConfigError, Retryable
from shared.kafka_client import KafkaClientSettings
from shared.reactor_config import FleetConfig

SCORING_DEADLINE_S = 2.0  # a server that is away holds up ingest by no more than this, now and then
METRICS_OPTION = "--ingest-metrics"
LAKE_LOCK_WAIT_S = 15.0  # for the ingest before this one, or an import, to end


class Influx(NamedTuple):
    """Where InfluxDB 2 is, when there is one."""

    url: str
    token: str
    org: str
    bucket: str


class Scoring(NamedTuple):
    """For the sink `scoring`: the inference server, the components, the published releases."""

    inference: ServerDialled
    fleet: FleetConfig
    repository: Path


@dataclass(frozen=True)
class IngestSettings:
    """`kafka` is HOST:PORT; the lake and the list of alerts lie in the layout's folder."""

    layout: Layout
    kafka: str
    kafka_client: KafkaClientSettings = field(default_factory=KafkaClientSettings)
    influx: Influx | None = None
    routes: Routes = field(default_factory=Routes)
    scoring: Scoring | None = None
    notices: NoticeSettings = field(default_factory=NoticeSettings)
    metrics: str | None = None  # HOST:PORT for Prometheus, on loopback

    @property
    def lake(self) -> Path:
        """Where the lake lies."""
        return self.layout.lake


def run_ingest(own: IngestSettings, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Consume and tell people until `stop`; says so once the lake is ours. Retryable while another process
    has it: one ingest, so that nobody is told twice."""
    with _alone(own.lake), kept_up(own.lake), _feed(own) as feed, _asking(own) as asked:
        lake = LakeWriter(own.lake)
        lake.create()
        store = own.layout.alert_store()
        alerts = AlertSink(store)
        known, progress = KnownRows(LakeReader(own.lake).spans()), Progress(own.lake / FILE_NAME)
        counted = IngestMetrics()
        sinks = [*_sinks(own, lake, alerts, feed, asked, known), counted]
        ingest = Ingest(own.kafka, sinks, known, progress=progress, client=own.kafka_client)
        counted.registry.register(IngestState(ingest))
        with _telling(own, store, say), _metrics(own, counted):
            catch_up(Routed("alerts", alerts, own.routes), store, LakeReader(own.lake))
            say(f"ingest             {own.kafka} (Kafka) to {address_of(own.lake) or own.lake}")
            ingest.run(stop)


@contextmanager
def _alone(lake: Path) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(lake_lock(lake, LAKE_LOCK_WAIT_S))
        except Retryable as error:
            raise Retryable(
                f"{error}. One ingest writes to a lake, because what is new is decided in its memory; "
                "end that process, or start this one when it has ended"
            ) from error
        yield


@contextmanager
def _metrics(own: IngestSettings, counted: IngestMetrics) -> Iterator[None]:
    """`/metrics`, where that was asked for."""
    if own.metrics is None:
        yield
        return
    from control_plane.serving.metrics import MetricsServer  # with onnxruntime, which ingest does without

    with closing(MetricsServer(counted.registry, own.metrics, METRICS_OPTION)):
        yield


def _telling(
    own: IngestSettings, store: AlertStore, say: Callable[[str], None]
) -> AbstractContextManager[None]:
    """Notices of alerts, by the channels that are set up; known before anything can be raised."""
    ways = channels(own.notices)
    if not ways:
        return nullcontext()
    notifier = Notifier(store, ways, own.layout.centre_log())
    notifier.follow()
    say(f"notices of alerts  {', '.join(way.name for way in ways)}")
    return notifier.telling()


def _feed(own: IngestSettings) -> AbstractContextManager[InfluxFeed | None]:
    """What brings to InfluxDB all that is routed there, once the lake has it."""
    if not own.influx:
        return nullcontext()
    routes = own.routes

    def wanted(schema: str, key: str) -> bool:
        return "influx" in routes.sinks_of(schema, key)

    return InfluxFeed(own.lake, InfluxWriter(*own.influx), wanted)


def _asking(own: IngestSettings) -> AbstractContextManager[RULInferenceClient | None]:
    """What asks for predictions, where a rule names `scoring`."""
    if own.scoring is None or not own.routes.names("scoring"):
        return nullcontext()
    return own.scoring.inference.client(SCORING_DEADLINE_S)


def _sinks(
    own: IngestSettings,
    lake: LakeWriter,
    alerts: Sink,
    feed: InfluxFeed | None,
    asked: RULInferenceClient | None,
    known: KnownRows,
) -> list[Sink]:
    """The lake comes last: a record that it holds is a repeat after a death, and no other sink would get it.

    So the others may see a record twice, and take it for the same by `(store_id, seq)` or its time.
    """
    found: dict[SinkName, Sink] = {"alerts": alerts}
    if feed:
        found["influx"] = feed
    found["lake"] = lake
    sinks: list[Sink] = [Routed(name, sink, own.routes) for name, sink in found.items()]
    if own.scoring is not None and asked is not None:
        found["scoring"] = _scoring(own.lake, own.scoring, asked, tuple(sinks), known)
        sinks.insert(0, Routed("scoring", found["scoring"], own.routes))
    missing = [name for name in ("influx", "scoring") if own.routes.names(name) and name not in found]
    if missing:
        raise ConfigError("--routes", [f"a rule names {name}, which is not set up here" for name in missing])
    return sinks


def _scoring(
    lake: Path, how: Scoring, asked: RULInferenceClient, sinks: Sequence[Sink], known: KnownRows
) -> CentreScoring:
    """Its predictions go the way of all records."""
    specs, standing = PublishedSpecs(how.repository), standing_alerts(LakeReader(lake))
    return CentreScoring(asked, specs, how.fleet, sinks, known, MissedWindows(lake), standing)
