"""`control-plane serve`."""

import asyncio
import os
import signal
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import structlog
import typer
import uvloop

from control_plane.access.oidc_settings import oidc_settings
from control_plane.alerts.settings import notice_settings
from control_plane.app import Centre, CentreSettings, Part, WebTls
from control_plane.commands.options import (
    DataDir,
    InfluxBucket,
    InfluxOrg,
    InfluxToken,
    InfluxUrl,
    IngestMetricsAt,
    Kafka,
    KafkaClientConfig,
    LakeAt,
    RoutesFile,
    passphrase,
)
from control_plane.inference_answering import Alias, InferenceSettings, Releases
from control_plane.ingest.routing import load_routes
from control_plane.layout import Layout
from control_plane.release.director_keys import DirectorKeys
from shared import collector
from shared.errors import ConfigError
from shared.kafka_client import load_client_settings
from shared.reactor_config import load_fleet

PROCESSES_MAX = 8  # of inference, 130 MB each

CentreName = Annotated[
    list[str] | None,
    typer.Option(
        envvar="PM_CENTRE_NAME",
        help="host name or address that sites dial; may be repeated. Enrolled sites only, over TLS",
    ),
]
InferenceTokens = Annotated[
    Path | None,
    typer.Option(
        envvar="PM_INFERENCE_TOKENS",
        help="file of `control-plane token`: predictions for who shows one of its tokens",
    ),
]
InferenceAlias = Annotated[
    str | None,
    typer.Option(
        envvar="PM_INFERENCE_ALIAS",
        help="MLflow alias, for example champion: of the published releases, serve the one that has it",
    ),
]
ReleasesAt = Annotated[
    str | None,
    typer.Option(
        envvar="PM_RELEASES",
        help="s3:// or gs:// address of signed repositories: predictions from those, not from --data-dir's",
    ),
]
ReleasesRoot = Annotated[
    Path | None,
    typer.Option(
        envvar="PM_RELEASES_ROOT", help="with --releases: the repository's 1.root.json, brought by hand"
    ),
]


def serve(
    *,
    config: Annotated[Path, typer.Option(envvar="PM_CONFIG", help="the fleet's reactor_config.yaml")],
    data_dir: DataDir,
    part: Annotated[list[Part] | None, typer.Option(help="only this part; may be repeated")] = None,
    kafka: Kafka = "127.0.0.1:9092",
    kafka_client_config: KafkaClientConfig = None,
    listen: Annotated[
        str,
        typer.Option(
            envvar="PM_LISTEN",
            help="HOST:PORT of console and API; of the repositories too without --centre-name",
        ),
    ] = "127.0.0.1:8080",
    fleet_listen: Annotated[
        str, typer.Option(envvar="PM_FLEET_LISTEN", help="HOST:PORT for the sites")
    ] = "127.0.0.1:50052",
    centre_name: CentreName = None,
    repository_listen: Annotated[
        str,
        typer.Option(envvar="PM_REPOSITORY_LISTEN", help="HOST:PORT of the repositories, with --centre-name"),
    ] = "127.0.0.1:8443",
    enrol_listen: Annotated[
        str, typer.Option(envvar="PM_ENROL_LISTEN", help="HOST:PORT of enrolment, with --centre-name")
    ] = "127.0.0.1:50053",
    inference_listen: Annotated[
        str, typer.Option(envvar="PM_INFERENCE_LISTEN", help="HOST:PORT for predictions")
    ] = "127.0.0.1:50051",
    inference_tokens: InferenceTokens = None,
    inference_metrics: Annotated[
        str | None, typer.Option(envvar="PM_INFERENCE_METRICS", help="HOST:PORT for Prometheus, on loopback")
    ] = None,
    inference_alias: InferenceAlias = None,
    tracking_uri: Annotated[
        str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow, with --inference-alias")
    ] = None,
    influx_url: InfluxUrl = None,
    influx_org: InfluxOrg = "pm-stack-smr",
    influx_bucket: InfluxBucket = "telemetry",
    director_keys: Annotated[
        Path | None,
        typer.Option(
            envvar="PM_DIRECTOR_KEYS",
            help="folder with director-<site>.pem: the fleet part carries roll-outs on",
        ),
    ] = None,
    influx_token: InfluxToken = "",
    routes: RoutesFile = None,
    ingest_metrics: IngestMetricsAt = None,
    releases: ReleasesAt = None,
    releases_root: ReleasesRoot = None,
    lake: LakeAt = None,
    web_certificate: Annotated[
        Path | None,
        typer.Option(
            envvar="PM_WEB_CERTIFICATE",
            help="PEM: with --web-key, console and API speak TLS, beyond loopback too",
        ),
    ] = None,
    web_key: Annotated[
        Path | None, typer.Option(envvar="PM_WEB_KEY", help="PEM, the key of --web-certificate")
    ] = None,
) -> None:
    """Run the centre: ingest, fleet service, console, repositories and inference; until SIGTERM.

    Example: control-plane serve --config reactor_config.yaml --data-dir /var/lib/pm-stack-smr

    Whom alerts are told to is set by PM_ALERT_WEBHOOK_URL, PM_ALERT_SMTP_URL and others: docs/alerts.md.

    The first start prints an account and its one-time password for the console: docs/access.md.

    Example: control-plane serve --part ingest --config reactor_config.yaml --data-dir data

    Example: control-plane serve --centre-name centre.example --fleet-listen 0.0.0.0:50052
    --repository-listen 0.0.0.0:8443 --enrol-listen 0.0.0.0:50053 --config reactor_config.yaml --data-dir data
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(20))
    if influx_url and not influx_token:
        raise ConfigError("INFLUXDB_TOKEN", ["is not set, and --influx-url is given"])
    influx = None
    if influx_url:
        from control_plane.ingest_part import Influx

        influx = Influx(influx_url, influx_token, influx_org, influx_bucket)
    if lake:
        from control_plane.sinks.lake_place import settle

        settle(Layout(data_dir).lake, lake)
    names = tuple(centre_name or ())
    alias = Alias(inference_alias, tracking_uri or Layout(data_dir).tracking_uri) if inference_alias else None
    parts = frozenset(part or Part)
    front_end, inference_listen = cloud_run(os.environ, inference_listen)
    inference = InferenceSettings(
        inference_listen, names, inference_tokens, inference_metrics, alias,
        _releases(releases, releases_root), front_end, processes_of(parts),
    )  # fmt: skip
    fleet = load_fleet(config)
    settings = CentreSettings(
        data_dir, kafka, listen, fleet_listen, inference, repository_listen, enrol_listen,
        names, parts, influx, load_client_settings(kafka_client_config),
        DirectorKeys(director_keys, passphrase(director_keys)) if director_keys else None,
        load_routes(routes, fleet),
        notice_settings(os.environ), ingest_metrics, _web_tls(web_certificate, web_key),
        oidc_settings(os.environ),
    )  # fmt: skip
    collector.settle()
    uvloop.run(_until_told(Centre(settings, fleet)))


def cloud_run(environment: Mapping[str, str], listen: str) -> tuple[str, str]:
    """Who ends TLS before us and where predictions listen, by Cloud Run's container contract: it sets
    K_SERVICE and the PORT to listen on, and hands on HTTP/2 in clear."""
    if "K_SERVICE" not in environment:
        return "", listen
    port = environment.get("PORT", "8080")
    return "Cloud Run", f"0.0.0.0:{port}"


def processes_of(parts: frozenset[Part]) -> int:
    """One for each core that we may use where inference is all that runs here, else one: the other parts
    have the other cores."""
    return min(len(os.sched_getaffinity(0)), PROCESSES_MAX) if parts == {Part.INFERENCE} else 1


def _releases(address: str | None, root: Path | None) -> Releases | None:
    if address is None and root is None:
        return None
    if address is None or root is None:
        raise ConfigError("--releases", ["goes with --releases-root: a bucket alone is not believed"])
    return Releases(address, root)


def _web_tls(certificate: Path | None, key: Path | None) -> WebTls | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ConfigError("--web-certificate", ["goes with --web-key: give both, or neither"])
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "--web-certificate", [f"{certificate} with {key} cannot be used: {error}"]
        ) from error
    return WebTls(certificate, key)


async def _until_told(centre: Centre) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await centre.run(stop, lambda text: print(text, flush=True))
