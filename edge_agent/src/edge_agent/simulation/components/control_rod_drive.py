"""A control rod drive: magnetic jack with gripper and lift coils around a pressure housing.

Most pressurised water reactors step their rods so, NuScale's too. What is told: the coils' currents, how
long the latches take to engage (the dip in the coil current shows it), by how much the rod has slipped
behind its demand since it was last counted anew, and the time of the last drop test. NUREG/CR-5555
(Aging Assessment of the Westinghouse PWR Control Rod Drive System, 1991) names the wear: latches and
drive rod, coil insulation baked by heat, drag in the guide tubes. Numbers without another source are
engineering estimates.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from edge_agent.simulation.components import NOMINAL, FloatArray, Surroundings, about_one, running, warm
from edge_agent.simulation.physics.elementary import exp
from edge_agent.simulation.presets import FORCED_CIRCULATION, ReactorPreset

GRIPPER_A = 4.4  # one gripper coil holds the rod at reduced current
LIFT_A = 40.0  # peak of a step
COIL_RISE_K = 60.0  # of the gripper coil's own heat, at nominal current
AIR_C = 60.0  # cooling air around the coils
HOUSING_SHARE = 0.2  # of the housing's excess over the air, that reaches the coils
LATCH_MS = 70.0  # from current to engaged latch
RELEASE_S = 0.12  # decay of the gripper's field, before the rod moves
TRAVEL_M = 2.0  # both SMART's and NuScale's cores are 2 m high
GRAVITY_M_S2 = 9.81
NET_WEIGHT = 0.60  # of gravity, averaged over the stroke: buoyancy and the water to be displaced
LIFT_BY_FLOW = 0.10  # of gravity, at nominal primary flow against the rod; goes with flow squared

# Wear w = 1 - performance. Latches wear from the first step on and show it first; drag and slipped steps
# follow; insulation, baked for long, goes in the end and lets current past the coil.
LATCH_GAIN = 1.2  # worn latch arms travel further before they engage
SLIP_MM = 14.0  # when gone; a step is about 16 mm
DRAG_GAIN = 4.0  # of the resistance to a drop; with the square of wear
RELEASE_GAIN = 0.5  # worn faces stick
BLOCKED_RISE_K = 30.0  # dust in the cooling shroud; with the square of wear
LEAK_SHARE = 0.15  # of the coil current past aged insulation, at LEAK_WEAR
LEAK_WEAR = 0.7
LEAK_STEEPNESS = 5.0
LEAK_AT_LEAK_WEAR = float(exp(LEAK_STEEPNESS * LEAK_WEAR)) - 1.0


class Model:
    """One drive."""

    spans: ClassVar[Mapping[str, float]] = {
        "gripper_current": 4.0,
        "lift_current": 40.0,
        "coil_temperature": 80.0,
        "latch_time": 60.0,
        "position_deviation": 10.0,
        "drop_time": 1.0,
    }

    def __init__(self, rng: np.random.Generator, preset: ReactorPreset = FORCED_CIRCULATION) -> None:
        self.preset = preset
        self.gripper = GRIPPER_A * about_one(rng)
        self.lift = LIFT_A * about_one(rng)
        self.coil_rise = COIL_RISE_K * about_one(rng)
        self.latch = LATCH_MS * about_one(rng)
        self.weight = NET_WEIGHT * about_one(rng)

    def tags(
        self,
        performance: FloatArray,
        load: FloatArray,
        surroundings: Surroundings = NOMINAL,  # noqa: ARG002
    ) -> dict[str, FloatArray]:
        """Coils carry current while the reactor runs; primary flow holds a falling rod up."""
        wear, energised = np.clip(1.0 - performance, 0.0, 1.0), running(load)
        leak = (exp(LEAK_STEEPNESS * wear) - 1.0) / LEAK_AT_LEAK_WEAR
        current = energised * (1.0 + LEAK_SHARE * leak)
        return {
            "gripper_current": self.gripper * current,
            "lift_current": self.lift * current,
            "coil_temperature": self._coil_c(wear, load, current),
            "latch_time": self.latch * (1.0 + LATCH_GAIN * wear),
            "position_deviation": SLIP_MM * wear * np.sqrt(wear),
            "drop_time": self._drop_s(wear, load),
        }

    def _coil_c(self, wear: FloatArray, load: FloatArray, current: FloatArray) -> FloatArray:
        preset = self.preset
        rise_k = (preset.core_outlet_c - preset.core_inlet_c) * warm(load)
        housing = HOUSING_SHARE * (preset.core_inlet_c + rise_k - AIR_C)
        own_heat = (self.coil_rise + BLOCKED_RISE_K * wear * wear) * current
        return AIR_C + housing + own_heat

    def _drop_s(self, wear: FloatArray, load: FloatArray) -> FloatArray:
        """Release, then a fall at even acceleration: s = a t^2 / 2."""
        flow = self.preset.primary_share(load)
        weight = self.weight - LIFT_BY_FLOW * flow * flow
        acceleration = GRAVITY_M_S2 * weight / (1.0 + DRAG_GAIN * wear * wear)
        return RELEASE_S * (1.0 + RELEASE_GAIN * wear) + np.sqrt(2.0 * TRAVEL_M / acceleration)
