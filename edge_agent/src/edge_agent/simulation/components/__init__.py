"""The equations of each component type: latent performance and load -> true tag values.

One module a type, named as the type, with a class `Model`; a new type is one new module here.
Everything is elementwise over arrays of cycles, so one cycle and a thousand give the same numbers.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.simulation.physics.chance import standard_normal
from edge_agent.simulation.presets import FORCED_CIRCULATION, ReactorPreset
from shared.errors import ConfigError

FloatArray = NDArray[np.float64]
LOAD_MIN = 0.02  # of nominal: below it, what depends on a ratio of flows or powers fades to a standstill
UNIT_SPREAD = 0.01  # relative; inside the 3 % that ISO 9906 grade 1 allows on a pump's head


class ComponentModel(Protocol):
    """One unit of a type. `spans` gives each tag's nominal span, in its unit: noise is a share of it."""

    spans: ClassVar[Mapping[str, float]]

    def __init__(self, rng: np.random.Generator, preset: ReactorPreset = FORCED_CIRCULATION) -> None:
        """Draw this unit's own constants (unit-to-unit variation) around the reactor's nominal point.

        ConfigError when a reactor of that type has no such component.
        """

    def tags(self, performance: FloatArray, load: FloatArray) -> dict[str, FloatArray]:
        """Noise-free tags, shape `(n,)`, from performance (1 new, 0 gone) and load (1 nominal).

        Load is power over nominal, 0 (an outage) to 1.1; at 0 the plant is hot and stands still.
        """


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


def about_one(rng: np.random.Generator) -> float:
    """A unit's own factor on a nominal constant."""
    return 1.0 + UNIT_SPREAD * float(standard_normal(rng, 1)[0])


def running(load: FloatArray) -> FloatArray:
    """1 in operation, falling to 0 below `LOAD_MIN`: an outage divides by no flow."""
    return load / np.maximum(load, LOAD_MIN)
