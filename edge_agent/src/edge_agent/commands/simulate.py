"""`edge-agent simulate`."""

import sys
import time
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.progress import track

from edge_agent.commands.check import ConfigOption
from edge_agent.sources.base import judged
from shared.errors import ConfigError
from shared.fault_config import ScheduledFault
from shared.kafka_client import VARIABLE, KafkaClientSettings, load_client_settings
from shared.reactor_config import Component, FleetConfig, load_fleet
from shared.schemas import ComponentId, utc_now

if TYPE_CHECKING:
    from edge_agent.simulation.batch import Batch
    from edge_agent.simulation.reactor import Member

PROGRESS_RUNS_MIN = 100  # fewer runs than that take less than two seconds
PROGRESS_ROWS_MIN = 500_000  # so do fewer rows
T = TypeVar("T")


class Mode(StrEnum):
    BATCH = "batch"
    STREAM = "stream"


def simulate(
    *,
    config: ConfigOption,
    site_id: Annotated[str | None, typer.Option(help="site in the file; left out: every site")] = None,
    reactor_id: Annotated[str | None, typer.Option(help="reactor; left out: every reactor")] = None,
    component: Annotated[str | None, typer.Option(help="component; left out: every simulated one")] = None,
    cycles: Annotated[int, typer.Option(min=1, help="cycles to simulate (of each run)")] = 200,
    mode: Annotated[Mode, typer.Option(help="batch: a file; stream: JSON lines, or --kafka")] = Mode.BATCH,
    output_path: Annotated[
        Path | None, typer.Option(help="batch: file ending in .csv or .parquet, or a folder: a file each")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="the same seed gives the same bytes")] = 0,
    runs: Annotated[int, typer.Option(min=1, help="batch: histories, with seeds seed, seed+1, ...")] = 1,
    decay_spread: Annotated[
        float, typer.Option(min=0.0, max=2.0, help="batch: sigma of the lognormal wear rate over runs")
    ] = 0.0,
    stop_at_failure: Annotated[
        bool, typer.Option("--stop-at-failure", help="batch: end each run when true_RUL is 0")
    ] = False,
    fault: Annotated[list[str] | None, typer.Option(help="TYPE@CYCLE, may be repeated")] = None,
    kafka: Annotated[str | None, typer.Option(help="stream: publish to this HOST:PORT instead")] = None,
    topic: Annotated[str, typer.Option(help="stream: Kafka's topic")] = "telemetry_raw",
    kafka_client_config: Annotated[
        Path | None, typer.Option(envvar=VARIABLE, help="stream: file of librdkafka's TLS and SASL settings")
    ] = None,
) -> None:
    """Simulate components: a batch for training, or a stream of readings.

    A batch has the labels performance, true_RUL and fault as its last columns; a stream carries what
    a plant could really send, at the site's poll period: one JSON line a cycle, or one message with
    --kafka. That is a trial of Kafka: what loses no reading is the agent, from `edge-agent plant`.

    Example: edge-agent simulate --config reactor_config.yaml --site-id TX01 --reactor-id R1
    --component coolant_pump --runs 50 --decay-spread 0.4 --stop-at-failure --cycles 2000
    --output-path pumps.parquet --seed 7
    Example, the whole fleet: edge-agent simulate --config reactor_config.yaml --output-path fleet/
    """
    fleet = load_fleet(config)
    sections = _sections(config, fleet, (site_id, reactor_id, component), fault or [])
    if mode is Mode.STREAM:
        place, section = _only(sections)
        member = _member(place, {**fleet.components(), place: section}, seed)
        period_s = fleet.sites[place.site_id].plant.poll_period_s
        if kafka is None:
            _stream(member, cycles, period_s)
        else:
            client = load_client_settings(kafka_client_config)
            _publish(member, cycles, period_s, topic, kafka, client)
        return
    if output_path is None:
        raise ConfigError("--output-path", ["missing; --mode batch writes a .csv or .parquet file"])
    from edge_agent.simulation.batch import CYCLES_MAX, RUNS_MAX, Batch

    _check_at_most("--cycles", cycles, CYCLES_MAX)
    _check_at_most("--runs", runs, RUNS_MAX)
    others = {**fleet.components(), **sections}
    batches = [
        Batch(place, section, cycles, seed, runs, decay_spread, stop_at_failure, others=others)
        for place, section in sections.items()
    ]
    rows = _write(batches, output_path)
    whose = next(iter(sections)).key if len(sections) == 1 else f"each of {len(sections)} components"
    print(f"{output_path}: {rows} rows, {runs} run{'s' * (runs != 1)} of {whose}, seed {seed}")


def _check_at_most(option: str, found: int, most: int) -> None:
    if found > most:
        raise ConfigError(option, [f"found {found}; at most {most}: write several files, each with its seed"])


def _write(batches: "list[Batch]", path: Path) -> int:
    """One file, or one each in a folder; with a progress bar on a terminal where it takes a while."""
    from edge_agent.simulation.batch import in_one, write, write_each

    tables = sum(batch.tables_max for batch in batches)
    rows = sum(batch.runs * batch.cycles for batch in batches)
    shown = sys.stderr.isatty() and (tables >= PROGRESS_RUNS_MIN or rows >= PROGRESS_ROWS_MIN)
    if path.is_dir() or not path.suffix:
        return write_each(_tracked(batches, len(batches), shown), path)
    return write(_tracked(in_one(batches), tables, shown), path)


def _tracked(items: Iterable[T], total: int, shown: bool) -> Iterable[T]:
    return track(items, "simulating", total=total) if shown else items


def _sections(
    config: Path, fleet: FleetConfig, wanted: tuple[str | None, str | None, str | None], faults: list[str]
) -> dict[ComponentId, Component]:
    """The components that were asked for, with the faults of the command line added.

    A component that was not named is left out when its type has no model: it can only be replayed.
    """
    from edge_agent.simulation.components import model_types

    components = {
        place: section
        for place, section in fleet.components().items()
        if all(part in (None, own) for part, own in zip(wanted, place, strict=True))
        and (wanted[2] is not None or section.type in model_types())
    }
    if not components:
        asked = "/".join(part or "*" for part in wanted)
        known = ", ".join(found.key for found in fleet.components()) or "none"
        raise ConfigError(str(config), [f"component {asked!r} is not in the file; it has {known}"])
    scheduled = tuple(_scheduled(text) for text in faults)
    return {
        place: section.model_copy(update={"faults": section.faults + scheduled})
        for place, section in components.items()
    }


def _only(sections: dict[ComponentId, Component]) -> tuple[ComponentId, Component]:
    if len(sections) > 1:
        known = ", ".join(place.key for place in sections)
        raise ConfigError(
            "--mode stream",
            [f"found {len(sections)} components, {known}; name one: --site-id, --reactor-id, --component"],
        )
    return next(iter(sections.items()))


def _scheduled(text: str) -> ScheduledFault:
    kind, _, cycle = text.partition("@")
    try:
        return ScheduledFault.model_validate({"type": kind, "at_cycle": cycle})
    except ValueError as error:
        from edge_agent.simulation.faults import FAULT_TYPES

        raise ConfigError(
            "--fault",
            [f"found {text!r}; expected TYPE@CYCLE with TYPE one of {', '.join(FAULT_TYPES)}"],
        ) from error


def _member(place: ComponentId, components: dict[ComponentId, Component], seed: int) -> "Member":
    from edge_agent.simulation.reactor import Member, Reactor, with_upstream

    return Member(Reactor(with_upstream(place, components), seed), place)


def _publish(
    member: "Member",
    cycles: int,
    period_s: float,
    topic: str,
    kafka: str,
    client: KafkaClientSettings,
) -> None:
    """PRD 2.2's message a cycle, to Kafka."""
    from edge_agent.forward import publish_telemetry

    try:
        sent = publish_telemetry(member, topic, period_s, bootstrap=kafka, cycles=cycles, client=client)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    print(f"{sent} cycles of {member.component_id.key} delivered to {topic} at {kafka}")


def _stream(member: "Member", cycles: int, period_s: float) -> None:
    """PRD 2.2's message a cycle, on standard output; ends quietly when its reader does."""
    try:
        for done in range(cycles):
            if done:
                time.sleep(period_s)
            row = member.simulate_cycle()
            reading = judged(member.component_id, member.config, utc_now(), row["cycle"], row)
            print(reading.model_dump_json(exclude={"quality"}), flush=True)
    except (KeyboardInterrupt, BrokenPipeError):
        sys.stdout = None  # nothing more can or should be written
        raise typer.Exit(0) from None
