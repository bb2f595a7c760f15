"""A once-through steam generator cassette, by effectiveness and number of transfer units.

Nominal point: one of SMART's twelve cassettes: 1,540 kg/s of primary water from 310 to 270 degC
against 152.5 kg/s of feedwater at 180 degC that leaves as steam at 274 degC and 3 MPa
(IAEA-TECDOC-1391, SMART). Preheating, boiling and superheating are taken together as one constant
heat capacity, so that the counterflow formula holds over the whole length.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from edge_agent.simulation.components import FloatArray, about_one

PRIMARY_KG_S = 1_540.0 / 12
SECONDARY_KG_S = 152.5 / 12
PRIMARY_INLET_C = 310.0
SECONDARY_INLET_C = 180.0
PRIMARY_KJ_KG_K = 5.3  # 330 MW / (1,540 kg/s x 40 K), as the water's mean between 270 and 310 degC
SECONDARY_KJ_KG_K = 23.0  # (2,930 - 764) kJ/kg over 94 K: enthalpies at 274 degC, 3 MPa and 180 degC
CONDUCTANCE_KW_K = 465.0  # UA that gives 274 degC steam at the nominal point
PRESSURE_DROP_KPA = 25.0  # primary side; estimate

# Kern-Seaton: fouling resistance grows to an asymptote, Rf = Rf* (1 - exp(-t / tau)) (Kern and Seaton,
# Brit. Chem. Eng. 4, 1959). Lost performance stands for the time: with linear decay it is the same.
FOULING_ASYMPTOTE = 1.8  # Rf* as a share of the clean resistance 1/U0
FOULING_SCALE = 0.5  # lost performance for 1 - 1/e of the asymptote
PRESSURE_GAIN = 0.8  # narrowed passages, at the asymptote


class Model:
    """One cassette."""

    spans: ClassVar[Mapping[str, float]] = {
        "flow_rate": 60.0,
        "temperature_in": 60.0,
        "temperature_out": 60.0,
        "secondary_flow_rate": 6.0,
        "secondary_temperature_in": 60.0,
        "secondary_temperature_out": 60.0,
        "pressure_drop": 20.0,
    }

    def __init__(self, rng: np.random.Generator) -> None:
        self.primary = PRIMARY_KG_S * about_one(rng)
        self.secondary = SECONDARY_KG_S * about_one(rng)
        self.conductance = CONDUCTANCE_KW_K * about_one(rng)
        self.pressure_drop = PRESSURE_DROP_KPA * about_one(rng)

    def tags(self, performance: FloatArray, load: FloatArray) -> dict[str, FloatArray]:
        """Both flows follow the load; fouling lowers UA and narrows the primary passages."""
        fouled = -np.expm1(-np.clip(1.0 - performance, 0.0, 1.0) / FOULING_SCALE)
        conductance = self.conductance / (1.0 + FOULING_ASYMPTOTE * fouled)
        hot = self.primary * load * PRIMARY_KJ_KG_K
        cold = self.secondary * load * SECONDARY_KJ_KG_K
        smaller = np.minimum(hot, cold)
        heat = (
            effectiveness(conductance, smaller, np.maximum(hot, cold))
            * smaller
            * (PRIMARY_INLET_C - SECONDARY_INLET_C)
        )
        return {
            "flow_rate": self.primary * load,
            "temperature_in": np.full_like(load, PRIMARY_INLET_C),
            "temperature_out": PRIMARY_INLET_C - heat / hot,
            "secondary_flow_rate": self.secondary * load,
            "secondary_temperature_in": np.full_like(load, SECONDARY_INLET_C),
            "secondary_temperature_out": SECONDARY_INLET_C + heat / cold,
            "pressure_drop": self.pressure_drop * load * load * (1.0 + PRESSURE_GAIN * fouled),
        }


def effectiveness(conductance: FloatArray, smaller: FloatArray, larger: FloatArray) -> FloatArray:
    """Counterflow effectiveness (Kays and London; Incropera, table 11.3), for unequal capacities.

    UA and the two capacity rates in kW/K; `smaller < larger`. Dimensionless, 0 to 1.
    """
    ratio = smaller / larger
    decay = np.exp(-(conductance / smaller) * (1.0 - ratio))
    result: FloatArray = (1.0 - decay) / (1.0 - ratio * decay)
    return result
