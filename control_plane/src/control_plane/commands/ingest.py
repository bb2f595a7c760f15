"""`control-plane ingest`."""

import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import structlog
import typer

from control_plane.commands.options import (
    DataDir,
    InfluxBucket,
    InfluxOrg,
    InfluxToken,
    InfluxUrl,
    IngestMetricsAt,
    Kafka,
    KafkaClientConfig,
    RoutesFile,
)
from control_plane.ingest.routing import load_routes
from control_plane.ingest_part import INFERENCE_TOKEN, Influx, IngestSettings, Scoring, run_ingest
from control_plane.layout import Layout
from shared.errors import ConfigError
from shared.kafka_client import load_client_settings
from shared.reactor_config import load_fleet


def ingest(
    data_dir: DataDir,
    kafka: Kafka = "127.0.0.1:9092",
    kafka_client_config: KafkaClientConfig = None,
    routes: RoutesFile = None,
    config: Annotated[
        Path | None, typer.Option(envvar="PM_CONFIG", help="the fleet, for routes by component type")
    ] = None,
    inference: Annotated[
        str | None,
        typer.Option(help="HOST:PORT of inference, for routes to scoring; needs --config"),
    ] = None,
    influx_url: InfluxUrl = None,
    influx_org: InfluxOrg = "pm-stack-smr",
    influx_bucket: InfluxBucket = "telemetry",
    influx_token: InfluxToken = "",
    ingest_metrics: IngestMetricsAt = None,
) -> None:
    """Take the sites' records from Kafka into the lake and the other sinks, each once; until SIGTERM.

    It is a consumer group over the five topics: offsets are committed after every sink has accepted, so it
    may be killed at any moment. One process writes to a lake; another one is refused while it runs.

    Example: control-plane ingest --data-dir /var/lib/pm-stack-smr --kafka kafka.example:9092

    Example: control-plane ingest --data-dir data --routes routes.yaml --config reactor_config.yaml
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(20))
    if influx_url and not influx_token:
        raise ConfigError("INFLUXDB_TOKEN", ["is not set, and --influx-url is given"])
    influx = Influx(influx_url, influx_token, influx_org, influx_bucket) if influx_url else None
    layout, fleet = Layout(data_dir), load_fleet(config) if config else None
    scoring = (
        Scoring(inference, fleet, layout.repository, os.environ.get(INFERENCE_TOKEN, ""))
        if inference and fleet
        else None
    )
    own = IngestSettings(
        layout, kafka, load_client_settings(kafka_client_config), influx, load_routes(routes, fleet),
        scoring, ingest_metrics,
    )  # fmt: skip
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def ready() -> None:
        print(f"ingest             {kafka} (Kafka) to {own.lake}", flush=True)

    run_ingest(own, stop, ready)
