"""The components of one reactor together: what a pump gives reaches the steam generator behind it."""

from collections.abc import Mapping
from graphlib import TopologicalSorter
from itertools import groupby
from typing import Any

import numpy as np

from edge_agent.simulation.components import FloatArray, Surroundings, drives, model_types, takes
from edge_agent.simulation.generators import SKIP_CHUNK_CYCLES, Columns, ReactorSimulator
from shared.reactor_config import Component
from shared.schemas import ComponentId

Components = Mapping[ComponentId, Component]


class Reactor:
    """Simulators of one reactor's components, each in the surroundings that the others give it.

    All have the same seed. `decay_scales` multiplies wear rates by component, 1 where none is given. What
    a component takes is the mean of those that drive it; where a reactor has more of them than are
    simulated, the rest are sound. The bits do not depend on the split of the cycles, nor on components
    that are not upstream. ConfigError as `ReactorSimulator`.
    """

    def __init__(
        self,
        components: Components,
        random_seed: int,
        decay_scales: Mapping[ComponentId, float] | None = None,
    ) -> None:
        self._takes = {place: takes(config.type) for place, config in components.items()}
        self._drivers = _drivers(components)
        scales = decay_scales or {}
        self.simulators = {
            place: ReactorSimulator(
                config, **place._asdict(), random_seed=random_seed, decay_scale=scales.get(place, 1.0)
            )
            for place, config in components.items()
        }
        self._order = list(TopologicalSorter(self._drivers).static_order())

    def simulate(self, cycles: int) -> dict[ComponentId, Columns]:
        """`ReactorSimulator.simulate` of every component."""
        columns: dict[ComponentId, Columns] = {}
        given: dict[ComponentId, Surroundings] = {}
        for place in self._order:
            around = {name: self._share(name, place, given) for name in self._takes[place]}
            known = {name: share for name, share in around.items() if share is not None}
            columns[place], given[place] = self.simulators[place].advance(cycles, known)
        return columns

    def simulate_cycle(self) -> dict[ComponentId, dict[str, Any]]:
        """`ReactorSimulator.simulate_cycle` of every component."""
        columns = self.simulate(1)
        return {place: simulator.record(columns[place]) for place, simulator in self.simulators.items()}

    def skip(self, cycles: int) -> None:
        """Go `cycles` on without looking."""
        for done in range(0, cycles, SKIP_CHUNK_CYCLES):
            self.simulate(min(SKIP_CHUNK_CYCLES, cycles - done))

    def _share(
        self, name: str, place: ComponentId, given: Mapping[ComponentId, Surroundings]
    ) -> FloatArray | None:
        """The mean of what drives `name`, over all of their kind in the reactor; None where none does."""
        drivers = [driver for driver in self._drivers[place] if name in given[driver]]
        if not drivers:
            return None
        total = sum((given[driver][name] for driver in drivers[1:]), given[drivers[0]][name])
        whole = max(self.simulators[drivers[0]].parallel, len(drivers))
        return np.asarray((total + (whole - len(drivers))) / whole)


class Member:
    """One component of a reactor, simulated with what reaches it; it alone is looked at."""

    def __init__(self, reactor: Reactor, component_id: ComponentId) -> None:
        self._reactor, self.component_id = reactor, component_id
        self.config = reactor.simulators[component_id].config

    def simulate_cycle(self) -> dict[str, Any]:
        """`ReactorSimulator.simulate_cycle`."""
        return self._reactor.simulate_cycle()[self.component_id]


def by_reactor(components: Components) -> list[dict[ComponentId, Component]]:
    """The components of each reactor, in their order."""
    parts = groupby(components.items(), key=lambda item: item[0][:2])
    return [dict(items) for _, items in parts]


def with_upstream(place: ComponentId, components: Components) -> dict[ComponentId, Component]:
    """The component and those of its reactor that reach it, directly or through others, in their order."""
    drivers = _drivers({other: config for other, config in components.items() if other[:2] == place[:2]})
    found, new = {place}, [place]
    while new:
        reached = [driver for driver in drivers[new.pop()] if driver not in found]
        found.update(reached)
        new += reached
    return {other: components[other] for other in drivers if other in found}


def _drivers(components: Components) -> dict[ComponentId, list[ComponentId]]:
    """For each component of a reactor those that drive what it takes, in their order."""
    kinds = {config.type for config in components.values()} & set(model_types())
    given, taken = ({kind: set(names(kind)) for kind in kinds} for names in (drives, takes))
    return {
        place: [
            other
            for other, driver in components.items()
            if given.get(driver.type, set()) & taken.get(config.type, set())
        ]
        for place, config in components.items()
    }
