"""`edge-agent fault`."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_agent.commands.check import ConfigOption, load_site
from shared.errors import ConfigError, Retryable
from shared.fault_config import ScheduledFault
from shared.reactor_config import Component
from shared.schemas import ComponentId

LOOK_S = 0.05  # between two looks for the plant's answer


def fault(
    *,
    config: ConfigOption,
    faults: Annotated[Path, typer.Option(help="the file that the plant was given as --faults")],
    site_id: Annotated[str, typer.Option(help="site in the file")],
    reactor_id: Annotated[str, typer.Option(help="reactor of the site")],
    component: Annotated[str, typer.Option(help="component of the reactor")],
    fault_type: Annotated[str, typer.Option("--type", help="for example leak or sensor_bias")],
    tag: Annotated[
        str | None, typer.Option(help="sensor faults: the transmitter, else one at random")
    ] = None,
    size: Annotated[float | None, typer.Option(help="in the type's unit, else its usual size")] = None,
    duration_cycles: Annotated[int | None, typer.Option(help="cycles until it ends, if it can")] = None,
    wait_s: Annotated[float, typer.Option(min=0, max=3600, help="for the plant's answer")] = 10.0,
) -> None:
    """Inject a fault into a plant that runs with --faults; says at which cycle it begins.

    The plant takes it up with its next cycle, and again after a restart. Exits 1 when no plant answered
    in time: the request stays in the file.

    Example: edge-agent fault --config reactor_config.yaml --faults tx01.faults.jsonl --site-id TX01
    --reactor-id R1 --component coolant_pump --type sensor_stuck --tag flow_rate --duration-cycles 60
    """
    from edge_agent.simulation.fault_requests import answer_to, ask

    place = ComponentId(site_id, reactor_id, component)
    settings = {"tag": tag, "size": size, "duration_cycles": duration_cycles}
    asked = _checked(config, place, fault_type, {k: v for k, v in settings.items() if v is not None})
    if not faults.exists():
        raise ConfigError("--faults", [f"{faults} does not exist; start the plant with --faults {faults}"])
    request = ask(faults, place, asked)
    end_s = time.monotonic() + wait_s
    while (answer := answer_to(faults, request)) is None:
        if time.monotonic() >= end_s:
            raise Retryable(f"no plant answered in {wait_s:g} s; is one running with --faults {faults}?")
        time.sleep(LOOK_S)
    if "refused" in answer:
        raise ConfigError(f"{place.key} in the plant", [str(answer["refused"])])
    print(f"{place.key}: {fault_type} begins at cycle {answer['at_cycle']}")


def _checked(config: Path, place: ComponentId, kind: str, settings: dict[str, Any]) -> ScheduledFault:
    """The fault, tried on a component of its own; ConfigError as the plant would refuse it."""
    from edge_agent.simulation import ReactorSimulator

    section = _section(config, place)
    try:
        ReactorSimulator(section, **place._asdict()).inject_fault(kind, **settings)
    except ValueError as error:
        raise ConfigError("--type", [str(error)]) from error
    return ScheduledFault.model_validate({"type": kind, "at_cycle": 0, **settings})


def _section(config: Path, place: ComponentId) -> Component:
    _, components = load_site(config, place.site_id)
    if place not in components:
        known = ", ".join(found.key for found in components)
        raise ConfigError(str(config), [f"component {place.key!r} is not in the file; it has {known}"])
    return components[place]
