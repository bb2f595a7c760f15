"""`control-plane dashboards`."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from control_plane.commands.options import InfluxBucket, InfluxOrg, InfluxToken, InfluxUrl, Json
from shared.errors import ConfigError

app = typer.Typer(no_args_is_help=True)
LINES_MAX = 1_000  # written at once


@app.callback()
def _group() -> None:
    """Grafana's dashboards: the JSON for a manual import, and a simulated plant's faults as marks on them."""


@app.command()
def export(
    output: Annotated[Path, typer.Option(help="file to write, for example dashboard/grafana_config.json")],
) -> None:
    """Write all dashboards as one JSON, for Dashboards > New > Import, where Grafana asks for data sources.

    Where Grafana can be given files, mount infra/grafana instead: folders, rules and contacts come with it.

    Example: control-plane dashboards export --output dashboard/grafana_config.json
    """
    text = files("control_plane.dashboards").joinpath("grafana_config.json").read_text("utf-8")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text)
    except OSError as error:
        raise ConfigError("--output", [f"{output} cannot be written: {error.strerror}"]) from error
    rows = len(json.loads(text)["panels"])
    print(f"{output}: {rows} folded rows; import it in Grafana under Dashboards > New > Import")


@app.command()
def faults(
    ledger: Annotated[Path, typer.Option(help="what `edge-agent plant --ledger` writes")],
    influx_url: InfluxUrl = None,
    influx_org: InfluxOrg = "pm-stack-smr",
    influx_bucket: InfluxBucket = "telemetry",
    influx_token: InfluxToken = "",
    as_json: Json = False,
) -> None:
    """Mark on the dashboards when a simulated plant's faults began. Again is no harm: a mark stays one.

    A site never sends this: labels travel apart from what a plant could really say.

    Example: control-plane dashboards faults --ledger tx01.jsonl --influx-url http://127.0.0.1:8086
    """
    from control_plane.dashboards.faults import fault_rows, read_ledger
    from control_plane.sinks.influx import InfluxWriter
    from control_plane.sinks.influx_points import fault_line

    if not influx_url or not influx_token:
        missing = "INFLUXDB_TOKEN" if influx_url else "--influx-url"
        raise ConfigError(missing, ["is not set; the marks go to InfluxDB 2"])
    try:
        with ledger.open(encoding="utf-8") as lines:
            rows = list(fault_rows(read_ledger(lines, str(ledger))))
    except OSError as error:
        raise ConfigError("--ledger", [f"{ledger} cannot be read: {error.strerror}"]) from error
    writer = InfluxWriter(influx_url, influx_token, influx_org, influx_bucket)
    for start in range(0, len(rows), LINES_MAX):
        writer.write([fault_line(row) for row in rows[start : start + LINES_MAX]])
    print(json.dumps({"faults": len(rows)}) if as_json else f"{len(rows)} faults marked")
