"""Options that several commands share."""

import getpass
import os
from pathlib import Path
from typing import Annotated

import typer

from shared.config_defaults import builtin_types
from shared.errors import ConfigError
from shared.kafka_client import VARIABLE
from shared.reactor_config import Component, Tag, load_fleet, parse_fleet

PASSPHRASE = "PM_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable

DataDir = Annotated[Path, typer.Option(envvar="PM_DATA_DIR", help="the centre's folder")]
Json = Annotated[bool, typer.Option("--json", help="for a script")]
TrackingUri = Annotated[
    str, typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow, for example sqlite:///data/mlflow.db")
]
ExperimentOption = Annotated[
    str,
    typer.Option("--experiment", envvar="MLFLOW_EXPERIMENT_NAME", help="MLflow's experiment for the runs"),
]
FleetOption = Annotated[
    Path | None, typer.Option("--fleet", help="reactor_config.yaml with types of your own")
]
ModelUri = Annotated[str, typer.Option(help="models:/NAME@champion, models:/NAME/VERSION or runs:/RUN_ID")]

Inference = Annotated[str, typer.Option(envvar="PM_INFERENCE", help="HOST:PORT of the inference server")]
InferenceCa = Annotated[
    Path | None,
    typer.Option(
        envvar="PM_INFERENCE_CA",
        help="PEM file of who signed the server's certificate: TLS, as beyond loopback",
    ),
]

Kafka = Annotated[str, typer.Option(envvar="PM_KAFKA", help="HOST:PORT of a broker")]
KafkaClientConfig = Annotated[
    Path | None, typer.Option(envvar=VARIABLE, help="file of librdkafka's TLS and SASL settings")
]
LakeAt = Annotated[
    str | None,
    typer.Option(
        "--lake",
        envvar="PM_LAKE",
        help="s3://bucket/prefix or gs://bucket/prefix for the lake's tables, from the first start on",
    ),
]
RoutesFile = Annotated[
    Path | None, typer.Option(envvar="PM_ROUTES", help="rules: which records go to which sinks")
]
IngestMetricsAt = Annotated[
    str | None,
    typer.Option(
        "--ingest-metrics", envvar="PM_INGEST_METRICS", help="HOST:PORT for Prometheus, on loopback"
    ),
]
InfluxUrl = Annotated[str | None, typer.Option(envvar="INFLUXDB_URL", help="InfluxDB 2")]
InfluxOrg = Annotated[str, typer.Option(envvar="INFLUXDB_ORG")]
InfluxBucket = Annotated[str, typer.Option(envvar="INFLUXDB_BUCKET")]
InfluxToken = Annotated[str, typer.Option(envvar="INFLUXDB_TOKEN", show_default=False)]


def me() -> str:
    """The login name of who asks; ConfigError where there is none, as for a container's user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        problem = f"user id {os.getuid()} has no name here; give --by, or set PM_USER, for the record"
        raise ConfigError("--by", [problem]) from error


def passphrase(of: Path | str) -> str:
    """From the environment, else asked for at the terminal; ConfigError where there is neither."""
    found = os.environ.get(PASSPHRASE)
    if found is None:
        try:
            found = str(typer.prompt(f"Passphrase of {of}", hide_input=True))
        except typer.Abort as error:
            raise ConfigError(PASSPHRASE, ["is not set, and there is no terminal to ask at"]) from error
    return found


def tags_of(component_type: str, fleet: Path | None) -> dict[str, Tag]:
    """The type's tags: of `component_of`."""
    return component_of(component_type, fleet).tags


def component_of(component_type: str, fleet: Path | None) -> Component:
    """The first component of that type in the fleet, else the built-in one."""
    found = load_fleet(fleet) if fleet else None
    if found is None and component_type in builtin_types():
        found = parse_fleet({"S": {"R": {"c": {"type": component_type}}}}, "--component-type")
    for component in (found.components() if found else {}).values():
        if component.type == component_type:
            return component
    known = ", ".join(builtin_types())
    raise ConfigError("--component-type", [f"found {component_type!r}; the built-in types are {known}"])
