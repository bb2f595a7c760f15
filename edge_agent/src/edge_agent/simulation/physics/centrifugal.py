"""A motor-driven centrifugal pump: affinity laws, wear of impeller and bearing, cavitation.

Wear is 1 - performance. Worn impeller and wear rings lose flow and head while leakage and friction
cost power (Gulich, Centrifugal Pumps, ch. 3.6); a bearing stays flat for long, then runs away; the
machine nears zone D of ISO 10816-7 (6.6 mm/s, over 200 kW 7.6) about when it fails.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge_agent.simulation.components import (
    LOAD_MIN,
    NOMINAL,
    FloatArray,
    Surroundings,
    about_one,
    running,
)
from edge_agent.simulation.physics.elementary import exp, log

GRAVITY_M_S2 = 9.81
SHUTOFF_HEAD = 1.25  # head at no flow over nominal head: the usual range is 1.1 to 1.3 (engineering estimate)
NPSH_FLOW_SHARE = 0.6  # of NPSH3 goes with flow squared, the rest with speed squared (engineering estimate)
FLOW_LOSS = 0.15
HEAD_LOSS = 0.25
EFFICIENCY_LOSS = 0.55
BEARING_SPEED_K = 20.0  # between standstill and nominal speed
BEARING_RISE_K = 45.0  # at BEARING_FAILED_WEAR and nominal speed
BEARING_STEEPNESS = 6.0
BEARING_FAILED_WEAR = 0.7
RUNAWAY_AT_FAILED_WEAR = float(exp(BEARING_STEEPNESS * BEARING_FAILED_WEAR)) - 1.0
VIBRATION_GAIN = 5.0
WEAR_MAX = 0.9  # beyond it the equations have no meaning; the pump has long failed

# Cavitation. At a suction margin NPSHA / NPSH3 of 1 the head has dropped by 3 %: that defines NPSH3
# (ISO 9906). How fast it drops around there, and what else suffers, are engineering estimates.
HEAD_DROP_AT_NPSH3 = 0.03
DROP_STEEPNESS = 5.0  # per unit of margin: the drop is under 0.03 % at a margin of 2
DROP_MAX = 0.5  # of the head: full cavitation; the curve falls off a cliff and ends there
DROP_EXPONENT_MIN = -40.0  # 1 less such a drop is 1 to the last bit: with and without it, the same tags
DROP_EXPONENT_MAX = float(log(DROP_MAX / HEAD_DROP_AT_NPSH3))
FLOW_SHARE_OF_DROP = 0.5  # flow falls half as much as head, on a system curve that is half static
VIBRATION_AT_NPSH3 = 0.8  # relative rise where the head has dropped by 3 %
VIBRATION_DROPS_MAX = 3.0  # in such drops: a fully cavitating pump is no louder (vapour damps it)
NPSH_GAIN = 0.9  # relative rise of NPSH3 from new to gone: worn rings leak back into the impeller's eye


@dataclass(frozen=True, slots=True)
class PumpDesign:
    """One size of pump at its nominal point; the water is that at its inlet."""

    speed_rpm: float
    minimum_flow: float  # of nominal; a recirculation line keeps it up when less is delivered, 0: none
    flow_kg_s: float
    pressure_rise_kpa: float
    npsh_required_m: float
    density_kg_m3: float
    heat_capacity_kj_kg_k: float
    efficiency: float  # pump x motor
    kw_per_a: float
    bearing_c: float
    vibration_mm_s: float


class CentrifugalPump:
    """One pump. A type gives its design, says how fast it turns and in what state water arrives."""

    spans: ClassVar[Mapping[str, float]]

    def __init__(self, rng: np.random.Generator, design: PumpDesign) -> None:
        self.design = design
        self.flow = design.flow_kg_s * about_one(rng)
        self.pressure = design.pressure_rise_kpa * about_one(rng)
        self.efficiency = design.efficiency * about_one(rng)
        self.bearing = design.bearing_c * about_one(rng)
        self.vibration = design.vibration_mm_s * about_one(rng)

    def speed_share(self, load: FloatArray) -> FloatArray:
        """Speed over nominal at which the flow follows the load."""
        raise NotImplementedError

    def inlet_c(self, flow_share: FloatArray, load: FloatArray) -> FloatArray:
        """Water temperature at the inlet; `flow_share` is the flow over what the speed should give."""
        raise NotImplementedError

    def above_boiling_kpa(self, inlet_c: FloatArray, load: FloatArray) -> FloatArray:
        """By how much the pressure at the inlet exceeds the vapour pressure there."""
        raise NotImplementedError

    def tags(
        self, performance: FloatArray, load: FloatArray, surroundings: Surroundings = NOMINAL
    ) -> dict[str, FloatArray]:
        """Affinity laws in speed n (Q ~ n, H ~ n^2, P ~ n^3) along a parabolic head curve.

        `suction_loss_kpa` around it is what a leak or a clogged strainer takes from the inlet's pressure.
        """
        design, wear, speed = self.design, np.clip(1.0 - performance, 0.0, WEAR_MAX), self.speed_share(load)
        through = np.maximum(load, design.minimum_flow * running(load))
        share = self.flow / design.flow_kg_s * (1.0 - FLOW_LOSS * wear)
        margin_kpa = self.above_boiling_kpa(self.inlet_c(share, load), load)
        margin_kpa = margin_kpa - surroundings.get("suction_loss_kpa", 0.0)
        drop = self._head_drop(wear, speed, through, margin_kpa)
        share = share * (1.0 - FLOW_SHARE_OF_DROP * drop)
        head = SHUTOFF_HEAD * speed * speed - (SHUTOFF_HEAD - 1.0) * through * through
        pressure = self.pressure * head * (1.0 - HEAD_LOSS * wear) * (1.0 - drop)
        best = self.efficiency * (1.0 - EFFICIENCY_LOSS * wear) * (1.0 - drop)
        power_kw, heat_kj_kg = self._power(pressure / design.density_kg_m3, best, share, speed, through)
        inlet = self.inlet_c(share, load)
        return {
            "shaft_speed": design.speed_rpm * speed,
            "flow_rate": design.flow_kg_s * load * share,
            "pressure_drop": pressure,
            "temperature_in": inlet,
            "temperature_out": inlet + heat_kj_kg / design.heat_capacity_kj_kg_k,
            "bearing_temperature": self._bearing_c(wear, speed),
            "motor_current": power_kw / design.kw_per_a,
            "vibration_rms": self._vibration_mm_s(wear, speed, drop),
        }

    def _power(
        self,
        useful_kj_kg: FloatArray,
        best: FloatArray,
        share: FloatArray,
        speed: FloatArray,
        through: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """Electric power, kW, and the heat left in the water, kJ/kg.

        Efficiency is a parabola over flow / speed, x (2 - x), with its best where both are nominal.
        """
        x = through / np.maximum(speed, LOAD_MIN)
        power_kw = useful_kj_kg * self.design.flow_kg_s * share * speed / (best * (2.0 - x))
        efficiency = best * np.maximum(x, LOAD_MIN) * (2.0 - x)
        return power_kw, useful_kj_kg * (1.0 / efficiency - 1.0)

    def _head_drop(
        self, wear: FloatArray, speed: FloatArray, through: FloatArray, margin_kpa: FloatArray
    ) -> FloatArray:
        """The share of the head that cavitation takes; what the pump wants grows with speed and flow."""
        available_m = margin_kpa / (self.design.density_kg_m3 * GRAVITY_M_S2 / 1_000.0)
        turning = (1.0 - NPSH_FLOW_SHARE) * speed * speed + NPSH_FLOW_SHARE * through * through
        required_m = self.design.npsh_required_m * np.maximum(turning, LOAD_MIN) * (1.0 + NPSH_GAIN * wear)
        exponent = np.minimum(DROP_STEEPNESS * (1.0 - available_m / required_m), DROP_EXPONENT_MAX)
        if exponent.max() < DROP_EXPONENT_MIN:
            return np.zeros_like(exponent)
        return HEAD_DROP_AT_NPSH3 * exp(exponent)

    def _bearing_c(self, wear: FloatArray, speed: FloatArray) -> FloatArray:
        runaway = (exp(BEARING_STEEPNESS * wear) - 1.0) / RUNAWAY_AT_FAILED_WEAR
        return self.bearing + BEARING_SPEED_K * (speed - 1.0) + BEARING_RISE_K * speed * runaway

    def _vibration_mm_s(self, wear: FloatArray, speed: FloatArray, drop: FloatArray) -> FloatArray:
        rough = 1.0 + VIBRATION_GAIN * wear * np.sqrt(wear)
        drops = np.minimum(drop / HEAD_DROP_AT_NPSH3, VIBRATION_DROPS_MAX)
        return self.vibration * speed * speed * rough * (1.0 + VIBRATION_AT_NPSH3 * drops)
