"""A motor-operated valve: a feedwater globe valve whose stem a geared induction motor turns.

The stem follows the load; the other tags are those of the last diagnostic stroke at that load. The
thrust adds up as in the testing that U.S. NRC Generic Letter 89-10 asked for: packing, the pressure on
the disc, the pressure on the stem's end. NUREG/CR-4234 (Aging and Service Wear of Electric Motor-Operated
Valves, 1985) names the wear: packing, stem nut, gears and their grease. Sizes and gains are engineering
estimates.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from edge_agent.simulation.components import NOMINAL, FloatArray, Surroundings, about_one
from edge_agent.simulation.presets import FORCED_CIRCULATION, ReactorPreset

POSITION_PERCENT = 85.0  # at nominal load
SHUT_OFF_KPA = 2_500.0  # across the closed valve: the feedwater pump's head at no flow
FLOWING_KPA = 1_000.0  # across it at nominal load
DISC_M2 = 7.85e-3  # seat of 100 mm
DISC_FACTOR = 1.1  # of pressure x area: guides rub a little
STEM_M2 = 8.0e-4  # stem of 32 mm
PACKING_KN = 5.5  # about 1,000 lbf per inch of stem, the trade's rule of thumb

# The stem's thread (a power screw: Shigley, Mechanical Engineering Design), the gear, the motor.
THREAD_M = 0.030
LEAD_M = 0.010
THREAD_FRICTION = 0.12  # greased
GEAR_RATIO = 40.0
GEAR_EFFICIENCY = 0.5  # worm gear
BREAKDOWN_NM = 16.0  # the motor's pull-out torque
BREAKDOWN_SLIP = 0.5  # at that torque; actuator motors trade speed for starting torque
MAGNETISING_A = 1.1
A_PER_NM = 0.45
STROKE_S = 30.0  # at synchronous speed
TORQUE_SHARE_MAX = 0.98  # of the pull-out torque: beyond it the motor stalls and no stroke ends

# Wear w = 1 - performance. Packing hardens from the first stroke on and shows first; grease dries; nut
# and gear teeth go late. The stroke time of an induction motor hardly tells, as plants found.
PACKING_GAIN = 1.4
FRICTION_GAIN = 0.9
GEAR_LOSS = 0.25
BACKLASH_PERCENT = 4.0  # worn nut, with the square of wear


class Model:
    """One valve with its actuator."""

    spans: ClassVar[Mapping[str, float]] = {
        "stem_position": 50.0,
        "packing_friction": 8.0,
        "stem_thrust": 20.0,
        "motor_torque": 8.0,
        "motor_current": 4.0,
        "stroke_time": 10.0,
    }

    def __init__(self, rng: np.random.Generator, preset: ReactorPreset = FORCED_CIRCULATION) -> None:
        self.preset = preset
        self.packing = PACKING_KN * about_one(rng)
        self.disc_m2 = DISC_M2 * about_one(rng)
        self.friction = THREAD_FRICTION * about_one(rng)
        self.magnetising = MAGNETISING_A * about_one(rng)
        self.stroke = STROKE_S * about_one(rng)

    def tags(
        self,
        performance: FloatArray,
        load: FloatArray,
        surroundings: Surroundings = NOMINAL,  # noqa: ARG002
    ) -> dict[str, FloatArray]:
        """Thrust to stem torque to motor torque; the motor answers with current and slip."""
        wear = np.clip(1.0 - performance, 0.0, 1.0)
        packing = self.packing * (1.0 + PACKING_GAIN * wear)
        thrust = packing + self._pressure_kn(load)
        friction = self.friction * (1.0 + FRICTION_GAIN * wear)
        stem_nm = 1_000.0 * thrust * stem_factor_m(friction)
        torque = stem_nm / (GEAR_RATIO * GEAR_EFFICIENCY * (1.0 - GEAR_LOSS * wear))
        working = A_PER_NM * torque  # in quadrature with the magnetising current
        position = POSITION_PERCENT * load - BACKLASH_PERCENT * wear * wear
        return {
            "stem_position": np.maximum(position, 0.0),
            "packing_friction": packing,
            "stem_thrust": thrust,
            "motor_torque": torque,
            "motor_current": np.sqrt(self.magnetising * self.magnetising + working * working),
            "stroke_time": self.stroke / (1.0 - slip(torque)),
        }

    def _pressure_kn(self, load: FloatArray) -> FloatArray:
        """On the disc and on the stem's end, kN: kPa x m2. More flow leaves less pressure across."""
        across = SHUT_OFF_KPA - (SHUT_OFF_KPA - FLOWING_KPA) * load * load
        return DISC_FACTOR * self.disc_m2 * across + STEM_M2 * (self.preset.steam_kpa + across)


def stem_factor_m(friction: FloatArray) -> FloatArray:
    """Stem torque over thrust, m, for a screw that is driven against its load (Shigley, ch. 8)."""
    turn = np.pi * THREAD_M
    return THREAD_M / 2.0 * (LEAD_M + friction * turn) / (turn - friction * LEAD_M)


def slip(torque_nm: FloatArray) -> FloatArray:
    """Relative slip of an induction motor below its pull-out torque (Kloss): T/Tb = 2 / (s/sb + sb/s)."""
    reserve = 1.0 / np.clip(torque_nm / BREAKDOWN_NM, 1.0 - TORQUE_SHARE_MAX, TORQUE_SHARE_MAX)
    return np.asarray(BREAKDOWN_SLIP * (reserve - np.sqrt(reserve * reserve - 1.0)))
