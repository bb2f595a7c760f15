"""A site's plant: a row per component at every tick, on the ledger first, then in the registers."""

import asyncio
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from edge_agent.simulation.fault_requests import FaultRequests
from edge_agent.simulation.generators import ReactorSimulator
from edge_agent.simulation.ledger import Ledger
from edge_agent.simulation.reactor import Reactor, by_reactor
from edge_agent.simulation.served import ServesPlant
from shared.errors import ConfigError
from shared.modbus_registers import as_read, encode
from shared.reactor_config import Component
from shared.schemas import ComponentId

# Far from the seeds of training batches: a model must not know its plant. Of these one that runs the first
# reactor of the product's configuration at full power for the first hundred cycles.
PLANT_SEED = 1_000_069
_IDENTITY = ("timestamp", "site_id", "reactor_id", "component", "cycle")
_LABELS = ("performance", "true_RUL", "fault")

Label = float | int | str | None


@dataclass(frozen=True, slots=True)
class PlantRow:
    """What one component shows at one cycle; NaN where the recording has no number."""

    component_id: ComponentId
    cycle: int
    values: dict[str, float]
    labels: dict[str, Label]


def check_registers(source: str, components: Mapping[ComponentId, Component]) -> None:
    """ConfigError unless every tag's register can hold both ends of its range."""
    problems = []
    for component_id, component in components.items():
        for name, tag in component.tags.items():
            try:
                for end in tag.range or ():
                    encode(tag.register_, end)
            except ValueError as error:
                problems.append(f"{component_id.key} tag {name}: {error}; give it another type or scale")
    if problems:
        raise ConfigError(source, problems)


def simulated(
    components: Mapping[ComponentId, Component],
    seed: int,
    from_cycle: int = 0,
    requests: FaultRequests | None = None,
) -> Iterator[list[PlantRow]]:
    """Rows of simulated components for ever, a list per tick; the same whenever it starts.

    The components of a reactor feel each other.
    What `requests` asks for begins with the next tick. ConfigError at once for a component type without
    a model.
    """
    if requests is not None:
        components = requests.resumed(components)
    reactors = [Reactor(parts, seed) for parts in by_reactor(components)]
    for reactor in reactors:
        reactor.skip(from_cycle)
    return (_tick(reactors, requests) for _ in count())


def _tick(reactors: list[Reactor], requests: FaultRequests | None) -> list[PlantRow]:
    if requests is not None:
        _inject_due(reactors, requests)
    return [
        _simulated_row(place, record)
        for reactor in reactors
        for place, record in reactor.simulate_cycle().items()
    ]


def _inject_due(reactors: list[Reactor], requests: FaultRequests) -> None:
    """Inject what is due, or say why not: a wrong request must not end the plant."""
    by_key: dict[str, ReactorSimulator] = {
        place.key: simulator for reactor in reactors for place, simulator in reactor.simulators.items()
    }
    for request, key, settings in requests.due():
        if key not in by_key:
            requests.refused(request, f"component {key!r} is not here; here are {', '.join(by_key)}")
            continue
        others = {name: value for name, value in settings.items() if name != "type"}
        try:
            by_key[key].inject_fault(str(settings.get("type")), **others)
        except (ValueError, TypeError) as error:
            requests.refused(request, str(error))
        else:
            requests.injected(request, by_key[key].cycle)


def _simulated_row(component_id: ComponentId, row: dict[str, Any]) -> PlantRow:
    values = {name: value for name, value in row.items() if name not in _IDENTITY + _LABELS}
    return PlantRow(component_id, row["cycle"], values, {name: row[name] for name in _LABELS})


async def serve_rows(
    server: ServesPlant, rows: Iterator[list[PlantRow]], ledger: Ledger | None, period_s: float
) -> None:
    """Show each tick's rows until they end: the first at once, the next at the wall clock's ticks.

    Ticks are at (k + 0.5) periods of UTC, so that an agent that polls at k periods reads mid-cycle.
    The first rows stay for one to two periods, so that no such agent misses them.
    """
    least_s = period_s
    for tick in rows:
        if ledger is not None:
            ledger.append([_ledger_entry(server, row) for row in tick])
        for row in tick:
            server.show(row.component_id, row.cycle, row.values)
        await _until(next_tick_s(time.time() + least_s, period_s))
        least_s = 0.0


def _ledger_entry(server: ServesPlant, row: PlantRow) -> dict[str, Any]:
    tags = server.components[row.component_id].tags
    read = {name: as_read(tags[name].register_, value) for name, value in row.values.items()}
    return {
        "key": row.component_id.key,
        "cycle": row.cycle,
        "values": {name: value if math.isfinite(value) else None for name, value in read.items()},
        "labels": row.labels,
    }


def next_tick_s(now_s: float, period_s: float) -> float:
    """The first moment after `now_s` that is (k + 0.5) periods; ticks that were missed are left out."""
    return (math.floor(now_s / period_s - 0.5) + 1.5) * period_s


async def _until(moment_s: float) -> None:
    """Sleep until the wall clock says so; a timer alone may end a little early and tick twice."""
    while (left_s := moment_s - time.time()) > 0:  # noqa: ASYNC110 - the wall clock is no event
        await asyncio.sleep(left_s)
