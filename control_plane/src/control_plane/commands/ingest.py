"""`control-plane ingest`."""

import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import structlog
import typer

from control_plane.alerts.settings import notice_settings
from control_plane.commands.options import (
    DataDir,
    InferenceCa,
    InfluxBucket,
    InfluxOrg,
    InfluxToken,
    InfluxUrl,
    IngestMetricsAt,
    Kafka,
    KafkaClientConfig,
    LakeAt,
    RoutesFile,
)
from control_plane.ingest.routing import load_routes
from control_plane.ingest_part import Influx, IngestSettings, Scoring, run_ingest
from control_plane.layout import Layout
from control_plane.serving.server_dialled import ServerDialled, token_on_hand
from control_plane.sinks.lake_place import settle
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
        typer.Option(envvar="PM_INFERENCE", help="HOST:PORT, for routes to scoring; needs --config"),
    ] = None,
    inference_ca: InferenceCa = None,
    influx_url: InfluxUrl = None,
    influx_org: InfluxOrg = "pm-stack-smr",
    influx_bucket: InfluxBucket = "telemetry",
    influx_token: InfluxToken = "",
    ingest_metrics: IngestMetricsAt = None,
    lake: LakeAt = None,
) -> None:
    """Take the sites' records from Kafka into the lake and the other sinks, each once; until SIGTERM.

    It is a consumer group over the five topics: offsets are committed after every sink has accepted, so it
    may be killed at any moment. One process writes to a lake; another one is refused while it runs.

    A bearer token for inference is taken from PM_INFERENCE_TOKEN.
    Whom alerts are told to is set by PM_ALERT_WEBHOOK_URL, PM_ALERT_SMTP_URL and others: docs/alerts.md.

    Example: control-plane ingest --data-dir /var/lib/pm-stack-smr --kafka kafka.example:9092

    The lake's tables lie in the folder, or where --lake says. Credentials for that come from
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL or GOOGLE_APPLICATION_CREDENTIALS.

    Example: control-plane ingest --data-dir data --lake s3://bucket/lake

    Example: control-plane ingest --data-dir data --routes routes.yaml --config reactor_config.yaml
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(20))
    if influx_url and not influx_token:
        raise ConfigError("INFLUXDB_TOKEN", ["is not set, and --influx-url is given"])
    influx = Influx(influx_url, influx_token, influx_org, influx_bucket) if influx_url else None
    layout, fleet = Layout(data_dir), load_fleet(config) if config else None
    settle(layout.lake, lake)
    server = ServerDialled(inference, token_on_hand(), inference_ca) if inference else None
    scoring = Scoring(server, fleet, layout.repository) if server and fleet else None
    own = IngestSettings(
        layout, kafka, load_client_settings(kafka_client_config), influx, load_routes(routes, fleet),
        scoring, notice_settings(os.environ), ingest_metrics,
    )  # fmt: skip
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run_ingest(own, stop, lambda text: print(text, flush=True))
