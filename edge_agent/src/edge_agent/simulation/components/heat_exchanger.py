"""A once-through steam generator, by effectiveness and number of transfer units.

Nominal point: one of SMART's twelve cassettes or one of NuScale's two helical coils (see `presets`).
Preheating, boiling and superheating are taken together as one constant heat capacity, so that the
counterflow formula holds over the whole length. The hot leg is held at its nominal temperature over the
load (engineering estimate); below `START_UP_LOAD` it comes down to the core's inlet temperature, and less
heat is transferred, none at a standstill.
Both flows are those that the reactor's pumps give: less primary flow leaves colder, less feedwater
leaves as hotter steam.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from edge_agent.simulation.components import (
    LOAD_MIN,
    NOMINAL,
    FloatArray,
    Surroundings,
    about_one,
    warm,
)
from edge_agent.simulation.physics.elementary import exp
from edge_agent.simulation.presets import FORCED_CIRCULATION, ReactorPreset

PRESSURE_DROP_KPA = 25.0  # primary side; estimate
SHARE_MIN = 0.05  # of a flow that pumps no longer give: natural circulation and leakage go on
RATIO_MAX = 1.0 - 1e-6  # of capacities: at 1 the formula is 0/0, and here within a millionth of its limit

# Kern-Seaton: fouling resistance grows to an asymptote, Rf = Rf* (1 - exp(-t / tau)) (Kern and Seaton,
# Brit. Chem. Eng. 4, 1959). Lost performance stands for the time: with linear decay it is the same.
FOULING_ASYMPTOTE = 1.8  # Rf* as a share of the clean resistance 1/U0
FOULING_SCALE = 0.5  # lost performance for 1 - 1/e of the asymptote
PRESSURE_GAIN = 0.8  # narrowed passages, at the asymptote
# Tubes that thinned are plugged and transfer no more. The share grows with the square of wear: none at
# first, since cracks and pits take time to reach through (engineering estimate).
PLUGGED_MAX = 0.1  # of the tubes, when gone: about what a steam generator's safety analysis allows


class Model:
    """One cassette or coil."""

    spans: ClassVar[Mapping[str, float]] = {
        "flow_rate": 60.0,
        "temperature_in": 60.0,
        "temperature_out": 60.0,
        "secondary_flow_rate": 6.0,
        "secondary_temperature_in": 60.0,
        "secondary_temperature_out": 60.0,
        "pressure_drop": 20.0,
    }
    takes: ClassVar[tuple[str, ...]] = ("primary_flow", "feedwater_flow")

    def __init__(self, rng: np.random.Generator, preset: ReactorPreset = FORCED_CIRCULATION) -> None:
        self.preset = preset
        self.primary = preset.primary_kg_s / preset.steam_generators * about_one(rng)
        self.secondary = preset.feedwater_kg_s / preset.steam_generators * about_one(rng)
        self.conductance = preset.conductance_kw_k * about_one(rng)
        self.pressure_drop = PRESSURE_DROP_KPA * about_one(rng)

    def tags(
        self, performance: FloatArray, load: FloatArray, surroundings: Surroundings = NOMINAL
    ) -> dict[str, FloatArray]:
        """Both flows follow the load; fouling lowers U and narrows the passages, plugging takes area."""
        preset, wear = self.preset, np.clip(1.0 - performance, 0.0, 1.0)
        fouled = 1.0 - exp(-wear / FOULING_SCALE)
        area = 1.0 - PLUGGED_MAX * wear * wear
        conductance = self.conductance * area / (1.0 + FOULING_ASYMPTOTE * fouled)
        pumped, fed = (np.maximum(surroundings.get(name, 1.0), SHARE_MIN) for name in self.takes)
        flowing, share = np.maximum(load, LOAD_MIN), pumped * preset.primary_share(load)
        hot = self.primary * pumped * preset.primary_share(flowing) * preset.primary_kj_kg_k
        cold = self.secondary * fed * flowing * preset.secondary_kj_kg_k
        inlet = preset.core_inlet_c + (preset.core_outlet_c - preset.core_inlet_c) * warm(load)
        smaller, larger = np.minimum(hot, cold), np.maximum(hot, cold)
        transferred = effectiveness(conductance, smaller, larger) * warm(load)
        heat = transferred * smaller * (inlet - preset.feedwater_c)
        return {
            "flow_rate": self.primary * share,
            "temperature_in": inlet,
            "temperature_out": inlet - heat / hot,
            "secondary_flow_rate": self.secondary * fed * load,
            "secondary_temperature_in": np.full_like(load, preset.feedwater_c),
            "secondary_temperature_out": preset.feedwater_c + heat / cold,
            "pressure_drop": self.pressure_drop * share * share * (1.0 + PRESSURE_GAIN * fouled),
        }


def effectiveness(conductance: FloatArray, smaller: FloatArray, larger: FloatArray) -> FloatArray:
    """Counterflow effectiveness (Kays and London; Incropera, table 11.3), for unequal capacities.

    UA and the two capacity rates in kW/K; `smaller <= larger`. Dimensionless, 0 to 1.
    """
    ratio = np.minimum(smaller / larger, RATIO_MAX)
    decay = exp(-(conductance / smaller) * (1.0 - ratio))
    result: FloatArray = (1.0 - decay) / (1.0 - ratio * decay)
    return result
