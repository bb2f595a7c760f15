"""`edge-agent plant`."""

import asyncio
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.commands.check import ConfigOption, SiteOption, load_site
from edge_agent.simulation.bad_days import BadDays
from edge_agent.simulation.fault_requests import FaultRequests
from edge_agent.simulation.ledger import Ledger
from edge_agent.simulation.modbus_server import PlantServer
from edge_agent.simulation.plant import PLANT_SEED, PlantRow, check_registers, serve_rows, simulated
from edge_agent.simulation.replay import Recording
from edge_agent.simulation.served import ServesPlant, plant_server
from shared.errors import ConfigError
from shared.plant_config import Plant
from shared.reactor_config import Component
from shared.schemas import ComponentId

if TYPE_CHECKING:
    from edge_agent.simulation.opcua_bad_days import OpcUaBadDays


def plant(
    *,
    config: ConfigOption,
    site: SiteOption,
    seed: Annotated[
        int, typer.Option(min=0, help="of the simulation; the same seed, the same plant")
    ] = PLANT_SEED,
    ledger: Annotated[
        Path | None, typer.Option(help="JSON lines of what was shown; resumed from where it exists")
    ] = None,
    speed: Annotated[float, typer.Option(min=0.01, max=1000, help="cycles per poll period")] = 1.0,
    replay: Annotated[Path | None, typer.Option(help="folder of CSV files to serve instead")] = None,
    from_row: Annotated[int, typer.Option(min=0, help="with --replay: first row served")] = 0,
    bad_days: Annotated[
        int | None,
        typer.Option(min=0, metavar="SEED", help="delays, silence, wrong and lost answers, restarts"),
    ] = None,
    faults: Annotated[
        Path | None, typer.Option(help="file through which `edge-agent fault` injects; made if missing")
    ] = None,
    server_key: Annotated[
        Path | None, typer.Option(help="of the OPC UA certificate in plant.security.trusted")
    ] = None,
) -> None:
    """Serve a site's plant over its protocol on loopback: simulated, or replayed from recorded files.

    Every poll period brings one cycle, half a period after the agent's polls. When a recording ends,
    its last row stays and the cycle counter stops, as on a controller that hangs. Ctrl-C ends it.

    Example: edge-agent plant --config reactor_config.yaml --site TX01 --ledger tx01.jsonl
    Example: edge-agent plant --config reactor_config.yaml --site RIG01 --replay recordings/
    Example: edge-agent plant --config reactor_config.yaml --site TX01 --bad-days 7
    Example: edge-agent plant --config reactor_config.yaml --site TX01 --server-key certificates/plant-key.pem
    """
    section, components = load_site(config, site)
    check_registers(str(config), components)
    if from_row and replay is None:
        raise ConfigError("--from-row", ["is for recordings; add --replay DIR"])
    requests = None if faults is None else _requests(faults, replay)
    if bad_days is None:
        server, wire = plant_server(site, section.plant, components, server_key), None
    else:
        server, wire = _on_bad_days(site, section.plant, components, bad_days)
    recording = None if replay is None else _load(Recording(replay, components), from_row)
    with ExitStack() as stack:
        book = None
        if ledger is not None:
            book = stack.enter_context(Ledger(ledger, [component_id.key for component_id in components]))
        first = 0 if book is None or book.last_cycle is None else book.last_cycle + 1
        if first:
            print(f"{ledger}: going on after cycle {first - 1}", flush=True)
        if recording is None:
            rows = simulated(components, seed, first, requests)
        elif first >= len(recording):
            print(f"{replay}: has been served to its end, as {ledger} says; nothing is left", flush=True)
            return
        else:
            rows = recording.rows(max(first, from_row))
        with suppress(asyncio.CancelledError):
            asyncio.run(_serve(site, server, wire, rows, book, section.plant.poll_period_s / speed))


def _on_bad_days(
    site: str, plant: Plant, components: Mapping[ComponentId, Component], seed: int
) -> "tuple[ServesPlant, BadDays | OpcUaBadDays | None]":
    """A server that has bad days itself, or one with a wire in front of it that has them."""
    if plant.protocol == "sparkplug_b":
        from edge_agent.simulation.sparkplug_bad_days import SparkplugBadDays  # only its sites load paho

        return SparkplugBadDays(site, plant, components, seed), None
    if plant.secured is not None:
        raise ConfigError("--bad-days", ["cannot spoil what is encrypted; leave out plant.security"])
    server = plant_server(site, plant, components)
    if isinstance(server, PlantServer):
        return server, BadDays.in_front_of(server, seed)
    from edge_agent.simulation.opcua_bad_days import OpcUaBadDays  # only its sites load asyncua

    return server, OpcUaBadDays.in_front_of(server, seed)


def _requests(path: Path, replay: Path | None) -> FaultRequests:
    if replay is not None:
        raise ConfigError("--faults", ["a recording cannot be changed; leave out --replay or --faults"])
    requests = FaultRequests(path)
    requests.load()
    return requests


def _load(recording: Recording, from_row: int) -> Recording:
    recording.load()
    if from_row >= len(recording):
        problem = f"found {from_row}; the recording has rows 0 to {len(recording) - 1}"
        raise ConfigError("--from-row", [problem])
    return recording


async def _serve(
    site: str,
    server: ServesPlant,
    wire: "BadDays | OpcUaBadDays | None",
    rows: Iterator[list[PlantRow]],
    ledger: Ledger | None,
    period_s: float,
) -> None:
    serving = asyncio.current_task()
    if serving is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    async with server, wire or nullcontext():
        units = ", ".join(f"unit {c.unit} {i.key}" for i, c in server.components.items())
        port = server.port if wire is None else wire.port
        print(
            f"{site}: {server.protocol} on {server.host}:{port}, a cycle every {period_s:g} s: {units}",
            flush=True,
        )
        if bad := getattr(wire or server, "share_text", None):
            print(f"{site}: {bad} has a bad day", flush=True)
        await serve_rows(server, rows, ledger, period_s)
        print(
            f"{site}: the recording has ended; its last row stays, the cycle counter has stopped", flush=True
        )
        await asyncio.Event().wait()
