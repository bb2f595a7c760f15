"""A bank of pressuriser heaters: sheathed elements in saturated water, in parallel on one supply.

Control asks the bank for the power that holds the pressure; while some elements are lost the others give
it, so pressure stays flat until the bank can no more. Level and pressure are context. NUREG-1431
(Standard Technical Specifications, Westinghouse Plants, LCO 3.4.9) shows what is asked of heaters: a
power per group that must be there. Numbers are engineering estimates.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from edge_agent.simulation.components import NOMINAL, FloatArray, Surroundings, about_one
from edge_agent.simulation.physics.elementary import exp
from edge_agent.simulation.physics.water import saturation_c
from edge_agent.simulation.presets import FORCED_CIRCULATION, ReactorPreset

SUPPLY_KV = 0.48
SQRT_3 = 1.7320508075688772
LOG_2, LOG_10 = 0.6931471805599453, 2.302585092994046
IDLE_DEMAND = 0.30  # of the bank's power: what the vessel loses to its surroundings
LOAD_DEMAND = 0.20  # more at nominal load: spray bypass and surges
SHEATH_RISE_K = 35.0  # of a clean sheath over the water, at an element's full power
INSULATION_MOHM = 200.0  # new, at INSULATION_SHEATH_K over the water
INSULATION_SHEATH_K = 17.5  # a new bank's sheath at nominal load
INSULATION_HALVING_K = 20.0  # hot magnesia insulates less
LEVEL_EMPTY_PERCENT = 25.0  # the level programme rises with load, as the water expands
LEVEL_RISE_PERCENT = 35.0
SAG = 0.15  # of the pressure, for a bank that gives nothing of what is asked

# Wear w = 1 - performance. Damp in the magnesia shows first, over decades of resistance; wires thin and
# elements burn out one by one; deposits keep the sheath hot.
INSULATION_DECADES = 2.5
LOST_ELEMENTS = 0.75  # when gone
WIRE_GAIN = 0.10
DEPOSIT_GAIN = 1.5


class Model:
    """One bank."""

    spans: ClassVar[Mapping[str, float]] = {
        "heater_power": 200.0,
        "heater_current": 250.0,
        "bank_resistance": 0.5,
        "insulation_resistance": 200.0,
        "sheath_temperature": 60.0,
        "pressure": 1_000.0,
        "level": 30.0,
    }
    drives: ClassVar[tuple[str, ...]] = ("primary_pressure",)
    parallel = 1  # bank that is asked; the others stand by

    def __init__(self, rng: np.random.Generator, preset: ReactorPreset = FORCED_CIRCULATION) -> None:
        self.preset = preset
        self.bank_kw = preset.heater_bank_kw * about_one(rng)
        self.sheath_rise = SHEATH_RISE_K * about_one(rng)
        self.insulation = INSULATION_MOHM * about_one(rng)

    def tags(
        self,
        performance: FloatArray,
        load: FloatArray,
        surroundings: Surroundings = NOMINAL,  # noqa: ARG002
    ) -> dict[str, FloatArray]:
        """The bank gives what is asked while it can; what it gives falls on the elements left."""
        wear = np.clip(1.0 - performance, 0.0, 1.0)
        intact = 1.0 - LOST_ELEMENTS * wear
        asked = self.preset.heater_bank_kw * (IDLE_DEMAND + LOAD_DEMAND * load)
        power = np.minimum(asked, self.bank_kw * intact / (1.0 + WIRE_GAIN * wear))
        pressure = self.preset.primary_kpa * (1.0 - SAG * (1.0 - power / asked))
        rise_k = self.sheath_rise * power / (self.bank_kw * intact) * (1.0 + DEPOSIT_GAIN * wear)
        return {
            "heater_power": power,
            "heater_current": power / (SQRT_3 * SUPPLY_KV),
            "bank_resistance": self._resistance_ohm(wear, intact),
            "insulation_resistance": self._insulation_mohm(wear, rise_k),
            "sheath_temperature": saturation_c(pressure) + rise_k,
            "pressure": pressure,
            "level": LEVEL_EMPTY_PERCENT + LEVEL_RISE_PERCENT * load,
        }

    def shares(self, tags: Mapping[str, FloatArray], load: FloatArray) -> dict[str, FloatArray]:  # noqa: ARG002
        """The primary pressure over the one that it should hold."""
        return {"primary_pressure": tags["pressure"] / self.preset.primary_kpa}

    def _resistance_ohm(self, wear: FloatArray, intact: FloatArray) -> FloatArray:
        """Of all elements in parallel, per phase: P = U^2 / R at full power."""
        new_ohm = 1_000.0 * SUPPLY_KV * SUPPLY_KV / self.bank_kw
        return new_ohm * (1.0 + WIRE_GAIN * wear) / intact

    def _insulation_mohm(self, wear: FloatArray, rise_k: FloatArray) -> FloatArray:
        decades = -INSULATION_DECADES * wear
        halvings = (rise_k - INSULATION_SHEATH_K) / INSULATION_HALVING_K
        return self.insulation * exp(LOG_10 * decades - LOG_2 * halvings)
