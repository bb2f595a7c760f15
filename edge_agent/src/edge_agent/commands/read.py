"""`edge-agent read`."""

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from typing import Annotated, Any

import structlog
import typer
from rich.table import Table

from edge_agent.commands.check import ConfigOption, JsonOption, SiteOption, load_site
from edge_agent.sources import Source, source_for
from edge_agent.sources.plan import plan
from shared import sparkplug
from shared.command_line import console
from shared.plant_config import Plant
from shared.reactor_config import Component
from shared.schemas import ComponentId, Quality, Telemetry, utc_now

SENT_PERIODS = 5  # poll periods that `--once` waits for values that are sent: connecting takes one or two
LOOK_PERIOD_S = 0.05
NO_BIRTH = (
    "no_birth: no birth certificate seen yet (or a message was lost since), and the node tells the metric\n"
    "by alias alone. The agent is read only and asks for none: it reads the tag after the node's next\n"
    "birth. Restart the node, let a host application ask for a rebirth, or have the node send names too."
)

OnceOption = Annotated[bool, typer.Option("--once", help="one poll; without it, every poll until Ctrl-C")]


def read(
    config: ConfigOption, site: SiteOption, once: OnceOption = False, as_json: JsonOption = False
) -> None:
    """Poll a site's devices, read only, and print each tag with its value or why it has none.

    With --json, one line a poll. With --once, exits 1 when no tag could be read.

    Example: edge-agent read --once --config reactor_config.yaml --site TX01
    """
    # What a source logs is for people: standard output is the table's or JSON's alone.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    section, components = load_site(config, site)
    try:
        good = asyncio.run(_poll(site, section.plant, components, once, as_json))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    if not good:
        raise typer.Exit(1)


async def _poll(
    site: str, plant: Plant, components: Mapping[ComponentId, Component], once: bool, as_json: bool
) -> bool:
    async with source_for(site, plant, components) as source:
        while True:
            readings = await (_first(source, plant) if once else source.read())
            rows = [
                row
                for reading in readings
                for row in _rows(reading, components[reading.component_id], plant.protocol)
            ]
            if as_json:
                print(json.dumps(rows), flush=True)
            else:
                _print_table(rows)
            if once:
                return any(reading.metrics for reading in readings)
            await asyncio.sleep(plant.poll_period_s)


async def _first(source: Source, plant: Plant) -> list[Telemetry]:
    """One poll; where values are sent and not asked for, the first that every component has a part in."""
    end = time.monotonic() + (0.0 if plant.protocol == "modbus_tcp" else SENT_PERIODS * plant.poll_period_s)
    while True:
        readings = await source.read()
        if all(reading.metrics for reading in readings) or time.monotonic() > end:
            return readings
        await asyncio.sleep(LOOK_PERIOD_S)


def _requests(component_id: ComponentId, component: Component, protocol: str) -> dict[str, str]:
    """What is asked of the device for each tag."""
    if protocol == "opc_ua":
        return component.node_ids(component_id)
    if protocol == "sparkplug_b":
        return {name: f"device {sparkplug.device(component_id)}" for name in component.tags}
    return {
        field.name: f"unit {component.unit} {block.request}"
        for block in plan(component)
        for field in block.fields
    }


def _rows(reading: Telemetry, component: Component, protocol: str) -> list[dict[str, Any]]:
    request = _requests(reading.component_id, component, protocol)
    age_s = (utc_now() - reading.timestamp).total_seconds()
    return [
        {
            "component": reading.component_id.key,
            "cycle": reading.cycle,
            "tag": name,
            "value": reading.metrics.get(name),
            "unit": tag.unit,
            "quality": str(reading.quality.get(name, "good")),
            "age_s": round(max(age_s, 0.0), 3),
            "request": request[name],
        }
        for name, tag in component.tags.items()
    ]


def _print_table(rows: list[dict[str, Any]]) -> None:
    table = Table("component", "cycle", "tag", "value", "unit", "quality", "age", "request")
    for row in rows:
        value = "-" if row["value"] is None else f"{row['value']:.6g}"
        cycle = "-" if row["cycle"] is None else str(row["cycle"])
        colour = "green" if row["quality"] == "good" else "red"
        table.add_row(
            row["component"],
            cycle,
            row["tag"],
            value,
            row["unit"],
            f"[{colour}]{row['quality']}[/]",
            f"{row['age_s'] * 1000:.0f} ms",
            row["request"],
        )
    console().print(table)
    if any(row["quality"] == Quality.NO_BIRTH for row in rows):
        print(NO_BIRTH)
