"""A reactor coolant pump: canned motor, no shaft seal, as SMART's.

Nominal point: SMART has four pumps at 1,800 rpm (Handbook of Small Modular Nuclear Reactors, ch. 15)
that share 1,540 kg/s; core inlet 270 degC, outlet 310 degC, 15 MPa (IAEA-TECDOC-1391, SMART). The
head of about 19 m and the 480 V supply are engineering estimates for a pump of that size.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from edge_agent.simulation.components import FloatArray, about_one

SPEED_RPM = 1_800.0
FLOW_KG_S = 385.0  # 1,540 kg/s over four pumps
PRESSURE_RISE_KPA = 130.0
CORE_INLET_C = 270.0
CORE_RISE_K = 40.0  # 310 - 270 degC at nominal power and flow
DENSITY_KG_M3 = 705.0  # water at 310 degC, 15 MPa (IAPWS-IF97)
HEAT_CAPACITY_KJ_KG_K = 5.7  # the same point
EFFICIENCY = 0.64  # pump 0.75 x canned motor 0.85
KW_PER_A = 0.665  # sqrt(3) x 480 V x power factor 0.8
BEARING_C = 66.0  # water-lubricated bearing in the cooled motor cavity
VIBRATION_MM_S = 1.4  # a new machine: zone A of ISO 10816-7

# Wear w = 1 - performance. Worn impeller and wear rings lose flow and head while leakage and friction
# cost power (Gulich, Centrifugal Pumps, ch. 3.6); a bearing stays flat for long, then runs away; the
# machine nears zone D of ISO 10816-7 (6.6 mm/s) about when it fails.
FLOW_LOSS = 0.15
HEAD_LOSS = 0.25
EFFICIENCY_LOSS = 0.55
BEARING_RISE_K = 45.0  # at BEARING_FAILED_WEAR
BEARING_STEEPNESS = 6.0
BEARING_FAILED_WEAR = 0.7
VIBRATION_GAIN = 5.0
WEAR_MAX = 0.9  # beyond it the equations have no meaning; the pump has long failed


class Model:
    """One pump."""

    spans: ClassVar[Mapping[str, float]] = {
        "shaft_speed": 400.0,
        "flow_rate": 200.0,
        "pressure_drop": 100.0,
        "temperature_in": 60.0,
        "temperature_out": 60.0,
        "bearing_temperature": 80.0,
        "motor_current": 80.0,
        "vibration_rms": 8.0,
    }

    def __init__(self, rng: np.random.Generator) -> None:
        self.flow = FLOW_KG_S * about_one(rng)
        self.pressure = PRESSURE_RISE_KPA * about_one(rng)
        self.efficiency = EFFICIENCY * about_one(rng)
        self.bearing = BEARING_C * about_one(rng)
        self.vibration = VIBRATION_MM_S * about_one(rng)

    def tags(self, performance: FloatArray, load: FloatArray) -> dict[str, FloatArray]:
        """Affinity laws in speed (Q ~ n, H ~ n^2, P ~ n^3); load is the relative speed and power."""
        wear = np.clip(1.0 - performance, 0.0, WEAR_MAX)
        flow = self.flow * load * (1.0 - FLOW_LOSS * wear)
        pressure = self.pressure * load * load * (1.0 - HEAD_LOSS * wear)
        hydraulic_kw = pressure * flow / DENSITY_KG_M3  # kPa x m3/s; ~ n^3 by the two laws above
        electric_kw = hydraulic_kw / (self.efficiency * (1.0 - EFFICIENCY_LOSS * wear))
        inlet = CORE_INLET_C + CORE_RISE_K * load * FLOW_KG_S / flow  # less flow, hotter core outlet
        runaway = np.expm1(BEARING_STEEPNESS * wear) / np.expm1(BEARING_STEEPNESS * BEARING_FAILED_WEAR)
        return {
            "shaft_speed": SPEED_RPM * load,
            "flow_rate": flow,
            "pressure_drop": pressure,
            "temperature_in": inlet,
            "temperature_out": inlet + (electric_kw - hydraulic_kw) / (flow * HEAT_CAPACITY_KJ_KG_K),
            "bearing_temperature": self.bearing + 20.0 * (load - 1.0) + BEARING_RISE_K * runaway,
            "motor_current": electric_kw / KW_PER_A,
            "vibration_rms": self.vibration * load * load * (1.0 + VIBRATION_GAIN * wear * np.sqrt(wear)),
        }
