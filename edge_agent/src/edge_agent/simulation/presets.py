"""Nominal points by reactor type: what the equations of the components take from the plant around them.

A component type that a reactor lacks raises ConfigError when it is made (see `coolant_pump`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.simulation.physics.elementary import power
from shared.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ReactorPreset:
    """One reactor at nominal power. Pressures are absolute; flows are of the whole reactor."""

    reactor_type: str
    primary_kg_s: float
    primary_kpa: float
    core_inlet_c: float
    core_outlet_c: float
    primary_kj_kg_k: float  # thermal power / (flow x temperature rise): the water's mean heat capacity
    coolant_pumps: int  # 0: buoyancy alone drives the flow
    steam_generators: int
    feedwater_kg_s: float
    feedwater_c: float
    steam_kpa: float
    secondary_kj_kg_k: float  # rise of enthalpy / rise of temperature, boiling included
    conductance_kw_k: float  # UA of one clean steam generator that gives the nominal steam temperature
    heater_bank_kw: float  # one bank of pressuriser heaters

    def primary_share(self, load: NDArray[np.float64]) -> NDArray[np.float64]:
        """Primary flow over nominal: pumps follow the load; buoyancy gives the cube root of power.

        Source of the cube root: a loop whose friction goes with the square of flow balances buoyancy
        that goes with power / flow (IAEA-TECDOC-1474, Natural Circulation in Water Cooled Plants).
        """
        return load if self.coolant_pumps else power(load, 1.0 / 3.0)


# SMART, 330 MW thermal (IAEA-TECDOC-1391): 1,540 kg/s, 270 to 310 degC, 15 MPa, four canned-motor
# pumps; twelve steam generator cassettes take 152.5 kg/s of feedwater at 180 degC and give steam at
# 274 degC and 3 MPa. Enthalpies 2,930 and 764 kJ/kg over 94 K. The heater bank is an engineering
# estimate: SMART's first design held its pressure with nitrogen, later ones with heaters and steam.
FORCED_CIRCULATION = ReactorPreset(
    reactor_type="forced_circulation",
    primary_kg_s=1_540.0,
    primary_kpa=15_000.0,
    core_inlet_c=270.0,
    core_outlet_c=310.0,
    primary_kj_kg_k=5.3,
    coolant_pumps=4,
    steam_generators=12,
    feedwater_kg_s=152.5,
    feedwater_c=180.0,
    steam_kpa=3_000.0,
    secondary_kj_kg_k=23.0,
    conductance_kw_k=465.0,
    heater_bank_kw=480.0,
)

# NuScale, 160 MW thermal (design certification application, final safety analysis report, chapters 4,
# 5 and 10): 587 kg/s, 258 to 310 degC, 12.76 MPa (1,850 psia), no reactor coolant pump; two helical
# coil steam generators take 67 kg/s of feedwater at 149 degC (300 degF) and give superheated steam at
# about 3.45 MPa (500 psia). 160 MW over that flow brings it to about 307 degC: 2,386 kJ/kg over 158 K.
# The conductance follows from these points; the heater bank is an engineering estimate.
NATURAL_CIRCULATION = ReactorPreset(
    reactor_type="natural_circulation",
    primary_kg_s=587.0,
    primary_kpa=12_760.0,
    core_inlet_c=258.0,
    core_outlet_c=310.0,
    primary_kj_kg_k=5.24,
    coolant_pumps=0,
    steam_generators=2,
    feedwater_kg_s=67.07,
    feedwater_c=149.0,
    steam_kpa=3_450.0,
    secondary_kj_kg_k=15.1,
    conductance_kw_k=2_710.0,
    heater_bank_kw=400.0,
)

PRESETS: Mapping[str, ReactorPreset] = {
    found.reactor_type: found for found in (FORCED_CIRCULATION, NATURAL_CIRCULATION)
}


def preset(reactor_type: str) -> ReactorPreset:
    """The nominal point of a reactor type; ConfigError when there is none."""
    if reactor_type not in PRESETS:
        raise ConfigError(
            f"reactor type {reactor_type}", [f"cannot be simulated; simulated types: {', '.join(PRESETS)}"]
        )
    return PRESETS[reactor_type]
