"""A feedwater pump: variable speed, mechanical shaft seal, suction from the deaerator.

Nominal point: two pumps share the feedwater (engineering estimate, as are speed, head, suction head
and the 4.16 kV motor). The deaerator boils at the feedwater's temperature, so that the suction margin is
no more than the height it stands above the pump, less the friction on the way down: cavitation comes
first at high load and with worn wear rings.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from edge_agent.simulation.components import (
    NOMINAL,
    FloatArray,
    Surroundings,
    about_one,
    running,
    share_of,
)
from edge_agent.simulation.physics.centrifugal import (
    GRAVITY_M_S2,
    SHUTOFF_HEAD,
    WEAR_MAX,
    CentrifugalPump,
    PumpDesign,
)
from edge_agent.simulation.presets import FORCED_CIRCULATION, ReactorPreset

PUMPS = 2
SPEED_RPM = 3_560.0
PRESSURE_RISE_KPA = 4_000.0  # from the deaerator, about 1 MPa, to steam of about 3 MPa
STEAM_SHARE = 0.75  # of that rise stands against the steam whatever the flow
MINIMUM_FLOW = 0.3  # of nominal, through the recirculation line
NPSH_REQUIRED_M = 8.0
DENSITY_KG_M3 = 887.0  # water at 180 degC (IAPWS-IF97); 149 degC is 3 % denser
HEAT_CAPACITY_KJ_KG_K = 4.4  # the same point
EFFICIENCY = 0.71  # pump 0.75 x motor 0.95
KW_PER_A = 6.34  # sqrt(3) x 4.16 kV x power factor 0.88
BEARING_C = 62.0  # oil-lubricated
VIBRATION_MM_S = 1.8  # a new machine: zone A of ISO 10816-7
STATIC_HEAD_M = 20.0  # of the deaerator above the pump
SUCTION_FRICTION_M = 3.0  # at nominal flow

# A mechanical seal leaks through a gap between its faces: laminar flow goes with the cube of the gap and
# with the pressure across it. How far the gap opens is an engineering estimate.
SEAL_L_H = 0.3  # new, at nominal speed
SEAL_GAP_GAIN = 5.0  # relative opening of the gap from new to gone
SEAL_STATIC_SHARE = 0.2  # of the pressure across the seal, that stands there at standstill


class Model(CentrifugalPump):
    """One of the pumps that share the feedwater."""

    spans: ClassVar[Mapping[str, float]] = {
        "shaft_speed": 800.0,
        "flow_rate": 40.0,
        "pressure_drop": 3_000.0,
        "temperature_in": 40.0,
        "temperature_out": 40.0,
        "bearing_temperature": 80.0,
        "motor_current": 50.0,
        "vibration_rms": 8.0,
        "seal_leakage": 20.0,
    }
    drives: ClassVar[tuple[str, ...]] = ("feedwater_flow",)
    parallel = PUMPS

    def __init__(self, rng: np.random.Generator, preset: ReactorPreset = FORCED_CIRCULATION) -> None:
        self.preset = preset
        design = PumpDesign(
            speed_rpm=SPEED_RPM,
            minimum_flow=MINIMUM_FLOW,
            flow_kg_s=preset.feedwater_kg_s / PUMPS,
            pressure_rise_kpa=PRESSURE_RISE_KPA,
            npsh_required_m=NPSH_REQUIRED_M,
            density_kg_m3=DENSITY_KG_M3,
            heat_capacity_kj_kg_k=HEAT_CAPACITY_KJ_KG_K,
            efficiency=EFFICIENCY,
            kw_per_a=KW_PER_A,
            bearing_c=BEARING_C,
            vibration_mm_s=VIBRATION_MM_S,
        )
        super().__init__(rng, design)
        self.seal = SEAL_L_H * about_one(rng)

    def speed_share(self, load: FloatArray) -> FloatArray:
        """Where the head curve meets the system's, which is steam pressure and friction (~ flow^2)."""
        needed = STEAM_SHARE + (SHUTOFF_HEAD - STEAM_SHARE) * load * load
        return running(load) * np.sqrt(needed / SHUTOFF_HEAD)

    def inlet_c(self, flow_share: FloatArray, load: FloatArray) -> FloatArray:  # noqa: ARG002
        """The deaerator holds its temperature."""
        return np.full_like(load, self.preset.feedwater_c)

    def above_boiling_kpa(self, inlet_c: FloatArray, load: FloatArray) -> FloatArray:  # noqa: ARG002
        """The water column alone, less friction (~ flow^2): the deaerator itself boils."""
        column_m = STATIC_HEAD_M - SUCTION_FRICTION_M * load * load
        return column_m * (DENSITY_KG_M3 * GRAVITY_M_S2 / 1_000.0)

    def tags(
        self, performance: FloatArray, load: FloatArray, surroundings: Surroundings = NOMINAL
    ) -> dict[str, FloatArray]:
        """As every centrifugal pump, with what the shaft seal lets through."""
        gap = 1.0 + SEAL_GAP_GAIN * np.clip(1.0 - performance, 0.0, WEAR_MAX)
        speed = self.speed_share(load)
        across = SEAL_STATIC_SHARE + (1.0 - SEAL_STATIC_SHARE) * speed * speed
        leakage = self.seal * gap * gap * gap * across
        return super().tags(performance, load, surroundings) | {"seal_leakage": leakage}

    def shares(self, tags: Mapping[str, FloatArray], load: FloatArray) -> dict[str, FloatArray]:
        """What it gives of its part of the feedwater."""
        return {"feedwater_flow": share_of(tags["flow_rate"], self.design.flow_kg_s, load)}
