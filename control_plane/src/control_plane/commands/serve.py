"""`control-plane serve`."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import structlog
import typer

from control_plane.app import Centre, CentreSettings, Part
from control_plane.commands.options import DataDir, passphrase
from control_plane.inference_door import InferenceSettings
from control_plane.ingest.routing import load_routes
from control_plane.ingest_part import Influx
from control_plane.layout import Layout
from control_plane.registry.mlflow_registry import ModelRegistry, RegistryAliases
from control_plane.release.director_keys import DirectorKeys
from shared.errors import ConfigError
from shared.kafka_client import VARIABLE, load_client_settings
from shared.reactor_config import load_fleet


def serve(
    *,
    config: Annotated[Path, typer.Option(envvar="PM_CONFIG", help="the fleet's reactor_config.yaml")],
    data_dir: DataDir,
    part: Annotated[list[Part] | None, typer.Option(help="only this part; may be repeated")] = None,
    kafka: Annotated[str, typer.Option(envvar="PM_KAFKA", help="HOST:PORT of a broker")] = "127.0.0.1:9092",
    kafka_client_config: Annotated[
        Path | None, typer.Option(envvar=VARIABLE, help="file of librdkafka's TLS and SASL settings")
    ] = None,
    listen: Annotated[
        str, typer.Option(help="HOST:PORT of console and API; of the repositories too without --centre-name")
    ] = "127.0.0.1:8080",
    fleet_listen: Annotated[str, typer.Option(help="HOST:PORT for the sites")] = "127.0.0.1:50052",
    centre_name: Annotated[
        list[str] | None,
        typer.Option(
            help="host name or address that sites dial; may be repeated. Enrolled sites only, over TLS"
        ),
    ] = None,
    repository_listen: Annotated[
        str, typer.Option(help="HOST:PORT of the repositories, with --centre-name")
    ] = "127.0.0.1:8443",
    enrol_listen: Annotated[
        str, typer.Option(help="HOST:PORT of enrolment, with --centre-name")
    ] = "127.0.0.1:50053",
    inference_listen: Annotated[str, typer.Option(help="HOST:PORT for predictions")] = "127.0.0.1:50051",
    inference_tokens: Annotated[
        Path | None,
        typer.Option(help="file of `control-plane token`: predictions for who shows one of its tokens"),
    ] = None,
    inference_metrics: Annotated[
        str | None, typer.Option(help="HOST:PORT for Prometheus, on loopback")
    ] = None,
    inference_alias: Annotated[
        str | None,
        typer.Option(
            help="MLflow alias, for example champion: of the published releases, serve the one that has it"
        ),
    ] = None,
    tracking_uri: Annotated[
        str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow, with --inference-alias")
    ] = None,
    influx_url: Annotated[str | None, typer.Option(envvar="INFLUXDB_URL", help="InfluxDB 2")] = None,
    influx_org: Annotated[str, typer.Option(envvar="INFLUXDB_ORG")] = "pm-stack-smr",
    influx_bucket: Annotated[str, typer.Option(envvar="INFLUXDB_BUCKET")] = "telemetry",
    director_keys: Annotated[
        Path | None, typer.Option(help="folder with director-<site>.pem: the fleet part carries roll-outs on")
    ] = None,
    influx_token: Annotated[str, typer.Option(envvar="INFLUXDB_TOKEN", show_default=False)] = "",
    routes: Annotated[
        Path | None, typer.Option(envvar="PM_ROUTES", help="rules: which records go to which sinks")
    ] = None,
) -> None:
    """Run the centre: ingest, fleet service, console, repositories and inference; until SIGTERM.

    Example: control-plane serve --config reactor_config.yaml --data-dir /var/lib/pm-stack-smr

    Example: control-plane serve --part ingest --config reactor_config.yaml --data-dir data

    Example: control-plane serve --centre-name centre.example --fleet-listen 0.0.0.0:50052
    --repository-listen 0.0.0.0:8443 --enrol-listen 0.0.0.0:50053 --config reactor_config.yaml --data-dir data
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(20))
    if influx_url and not influx_token:
        raise ConfigError("INFLUXDB_TOKEN", ["is not set, and --influx-url is given"])
    influx = Influx(influx_url, influx_token, influx_org, influx_bucket) if influx_url else None
    names = tuple(centre_name or ())
    aliases = aliases_of(inference_alias, tracking_uri or Layout(data_dir).tracking_uri)
    inference = InferenceSettings(inference_listen, names, inference_tokens, inference_metrics, aliases)
    fleet = load_fleet(config)
    settings = CentreSettings(
        data_dir, kafka, listen, fleet_listen, inference, repository_listen, enrol_listen,
        names, frozenset(part or Part), influx, load_client_settings(kafka_client_config),
        DirectorKeys(director_keys, passphrase(director_keys)) if director_keys else None,
        load_routes(routes, fleet),
    )  # fmt: skip
    asyncio.run(_until_told(Centre(settings, fleet)))


def aliases_of(name: str | None, tracking_uri: str) -> RegistryAliases | None:
    """What asks MLflow for the alias; None without one, so that MLflow is not needed."""
    return RegistryAliases(ModelRegistry(tracking_uri), name) if name else None


async def _until_told(centre: Centre) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await centre.run(stop, lambda text: print(text, flush=True))
