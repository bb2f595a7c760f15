"""The equations of each component type: latent performance and load -> true tag values.

One module a type, named as the type, with a class `Model`; a new type is one new module here.
Everything is elementwise over arrays of cycles, so one cycle and a thousand give the same numbers.
"""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigError

FloatArray = NDArray[np.float64]
UNIT_SPREAD = 0.01  # relative; inside the 3 % that ISO 9906 grade 1 allows on a pump's head


class ComponentModel(Protocol):
    """One unit of a type. `spans` gives each tag's nominal span, in its unit: noise is a share of it."""

    spans: ClassVar[Mapping[str, float]]

    def __init__(self, rng: np.random.Generator) -> None:
        """Draw this unit's own constants (unit-to-unit variation)."""

    def tags(self, performance: FloatArray, load: FloatArray) -> dict[str, FloatArray]:
        """Noise-free tags, shape `(n,)`, from performance (1 new, 0 gone) and load (1 nominal)."""


def model_types() -> list[str]:
    """The component types that can be simulated."""
    return sorted(module.name for module in iter_modules(__path__))


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
    return 1.0 + UNIT_SPREAD * float(rng.standard_normal())
