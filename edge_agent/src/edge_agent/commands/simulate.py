"""`edge-agent simulate`."""

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import track

from edge_agent.commands.check import ConfigOption, load_site
from shared.errors import ConfigError
from shared.reactor_config import Component, ScheduledFault
from shared.schemas import ComponentId, Telemetry, utc_now

if TYPE_CHECKING:
    from edge_agent.simulation import ReactorSimulator

PROGRESS_RUNS_MIN = 100  # fewer runs than that take less than two seconds


class Mode(StrEnum):
    BATCH = "batch"
    STREAM = "stream"


def simulate(
    *,
    config: ConfigOption,
    site_id: Annotated[str, typer.Option(help="site in the file")],
    reactor_id: Annotated[str, typer.Option(help="reactor of the site")],
    component: Annotated[str, typer.Option(help="component of the reactor")],
    cycles: Annotated[int, typer.Option(min=1, help="cycles to simulate (of each run)")] = 200,
    mode: Annotated[Mode, typer.Option(help="batch: a file; stream: JSON lines")] = Mode.BATCH,
    output_path: Annotated[Path | None, typer.Option(help="batch: file ending in .csv or .parquet")] = None,
    seed: Annotated[int, typer.Option(min=0, help="the same seed gives the same bytes")] = 0,
    runs: Annotated[int, typer.Option(min=1, help="batch: histories, with seeds seed, seed+1, ...")] = 1,
    decay_spread: Annotated[
        float, typer.Option(min=0.0, max=2.0, help="batch: sigma of the lognormal wear rate over runs")
    ] = 0.0,
    stop_at_failure: Annotated[
        bool, typer.Option("--stop-at-failure", help="batch: end each run when true_RUL is 0")
    ] = False,
    fault: Annotated[list[str] | None, typer.Option(help="TYPE@CYCLE, may be repeated")] = None,
) -> None:
    """Simulate one component: a batch for training, or a stream of readings.

    A batch has the labels performance, true_RUL and fault as its last columns; a stream carries what
    a plant could really send, one JSON line a cycle at the site's poll period. Kafka is not written
    here: the agent does that, from a plant served by `edge-agent plant`.

    Example: edge-agent simulate --config reactor_config.yaml --site-id TX01 --reactor-id R1
    --component coolant_pump --runs 50 --decay-spread 0.4 --stop-at-failure --cycles 2000
    --output-path pumps.parquet --seed 7
    """
    place = ComponentId(site_id, reactor_id, component)
    period_s, section = _section(config, place, fault or [])
    if mode is Mode.STREAM:
        _stream(_simulator(section, place, seed), cycles, period_s)
        return
    if output_path is None:
        raise ConfigError("--output-path", ["missing; --mode batch writes a .csv or .parquet file"])
    from edge_agent.simulation.batch import Batch, write

    batch = Batch(place, section, cycles, seed, runs, decay_spread, stop_at_failure)
    shown = sys.stderr.isatty() and runs >= PROGRESS_RUNS_MIN
    tables = track(batch.histories(), "simulating", total=runs) if shown else batch.histories()
    rows = write(tables, output_path)
    print(f"{output_path}: {rows} rows, {runs} run{'s' * (runs != 1)} of {place.key}, seed {seed}")


def _section(config: Path, place: ComponentId, faults: list[str]) -> tuple[float, Component]:
    """The site's poll period and the component with the faults of the command line added."""
    site, components = load_site(config, place.site_id)
    if place not in components:
        known = ", ".join(found.key for found in components)
        raise ConfigError(str(config), [f"component {place.key!r} is not in the file; it has {known}"])
    component = components[place]
    scheduled = component.faults + tuple(_scheduled(text) for text in faults)
    return site.plant.poll_period_s, component.model_copy(update={"faults": scheduled})


def _scheduled(text: str) -> ScheduledFault:
    kind, _, cycle = text.partition("@")
    try:
        return ScheduledFault.model_validate({"type": kind, "at_cycle": cycle})
    except ValueError as error:
        from edge_agent.simulation.generators import FAULT_TYPES

        raise ConfigError(
            "--fault",
            [f"found {text!r}; expected TYPE@CYCLE with TYPE one of {', '.join(FAULT_TYPES)}"],
        ) from error


def _simulator(section: Component, place: ComponentId, seed: int) -> "ReactorSimulator":
    from edge_agent.simulation import ReactorSimulator

    return ReactorSimulator(section, **place._asdict(), random_seed=seed)


def _stream(simulator: "ReactorSimulator", cycles: int, period_s: float) -> None:
    """PRD 2.2's message a cycle, on standard output; ends quietly when its reader does."""
    try:
        for done in range(cycles):
            if done:
                time.sleep(period_s)
            row = simulator.simulate_cycle()
            reading = Telemetry(
                timestamp=utc_now(),
                **simulator.component_id._asdict(),
                cycle=row["cycle"],
                metrics={tag: row[tag] for tag in simulator.config.tags},
            )
            print(reading.model_dump_json(exclude={"quality"}), flush=True)
    except (KeyboardInterrupt, BrokenPipeError):
        sys.stdout = None  # nothing more can or should be written
        raise typer.Exit(0) from None
