"""The equations of each component type: latent performance, load and surroundings -> true tag values.

One module a type, named as the type, with a class `Model`; a new type is one new module here.
Everything is elementwise over arrays of cycles, so one cycle and a thousand give the same numbers.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge_agent.simulation.physics.chance import standard_normal
from edge_agent.simulation.presets import FORCED_CIRCULATION, ReactorPreset
from shared.errors import ConfigError

FloatArray = NDArray[np.float64]
Surroundings = Mapping[str, FloatArray]  # by name; what is not there is nominal
NOMINAL: Surroundings = {}
LOAD_MIN = 0.02  # of nominal: below it, what depends on a ratio of flows or powers fades to a standstill
START_UP_LOAD = 0.2  # of nominal: below it temperatures go to those of hot standby (engineering estimate)
UNIT_SPREAD = 0.01  # relative; inside the 3 % that ISO 9906 grade 1 allows on a pump's head


class ComponentModel(Protocol):
    """One unit of a type. `spans` gives each tag's nominal span, in its unit: noise is a share of it."""

    spans: ClassVar[Mapping[str, float]]

    def __init__(self, rng: np.random.Generator, preset: ReactorPreset = FORCED_CIRCULATION) -> None:
        """Draw this unit's own constants (unit-to-unit variation) around the reactor's nominal point.

        ConfigError when a reactor of that type has no such component.
        """

    def tags(
        self, performance: FloatArray, load: FloatArray, surroundings: Surroundings = NOMINAL
    ) -> dict[str, FloatArray]:
        """Noise-free tags, shape `(n,)`, from performance (1 new, 0 gone) and load (1 nominal).

        Load is power over nominal, 0 (an outage) to 1.1; at 0 the plant is hot and stands still.
        `surroundings` are shares of what the load should give, that others of the reactor drive, and
        what a fault does around the component. A model looks up those in its `takes`, if it has any.
        """


@runtime_checkable
class Drives(Protocol):
    """A model that others of its reactor feel. `parallel` of its kind share the work in a whole reactor."""

    drives: ClassVar[tuple[str, ...]]
    parallel: int

    def shares(self, tags: Mapping[str, FloatArray], load: FloatArray) -> dict[str, FloatArray]:
        """For each of `drives` what it gives over what it should give at that load, from its true tags."""


def model_types() -> list[str]:
    """The component types that can be simulated."""
    return sorted(module.name for module in iter_modules(__path__))


@cache
def model(component_type: str) -> type[ComponentModel]:
    """The model of a type; ConfigError when there is none."""
    if component_type not in model_types():
        raise ConfigError(
            f"component type {component_type}",
            [
                f"cannot be simulated; simulated types: {', '.join(model_types())} "
                "(recorded data is served with `edge-agent plant --replay DIR`)"
            ],
        )
    found: Any = import_module(f"{__name__}.{component_type}")
    result: type[ComponentModel] = found.Model
    return result


def takes(component_type: str) -> tuple[str, ...]:
    """What a type feels of its reactor: the names in its model's `takes`, if it has one."""
    return getattr(model(component_type), "takes", ())


def drives(component_type: str) -> tuple[str, ...]:
    """What a type drives: the names in its model's `drives` (see `Drives`), if it has one."""
    return getattr(model(component_type), "drives", ())


def about_one(rng: np.random.Generator) -> float:
    """A unit's own factor on a nominal constant."""
    return 1.0 + UNIT_SPREAD * float(standard_normal(rng, 1)[0])


def running(load: FloatArray) -> FloatArray:
    """1 in operation, falling to 0 below `LOAD_MIN`: an outage divides by no flow."""
    return load / np.maximum(load, LOAD_MIN)


def warm(load: FloatArray) -> FloatArray:
    """1 from `START_UP_LOAD` on, falling to 0 at a standstill: water that warms up and cools down."""
    return np.minimum(load / START_UP_LOAD, 1.0)


def share_of(flow: FloatArray, nominal: float, load: FloatArray) -> FloatArray:
    """A flow over the one that goes with the load; below `LOAD_MIN` it fades to 1, for nothing flows."""
    return np.maximum(flow, 0.0) / (nominal * np.maximum(load, LOAD_MIN)) + (1.0 - running(load))
