"""A reactor coolant pump: canned motor, no shaft seal, as SMART's.

Nominal point: SMART has four pumps at 1,800 rpm (Handbook of Small Modular Nuclear Reactors, ch. 15)
that share the primary flow. The head of about 19 m, the suction head it wants and the 480 V supply are
engineering estimates for a pump of that size. It draws hot water from above the core at the primary
pressure: some 740 m of suction margin, gone only when the pressure is (a leak, a lost pressuriser).
What each pump gives adds up to the primary flow through the steam generators.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from edge_agent.simulation.components import NOMINAL, FloatArray, Surroundings, share_of, warm
from edge_agent.simulation.physics.centrifugal import CentrifugalPump, PumpDesign
from edge_agent.simulation.physics.water import saturation_kpa
from edge_agent.simulation.presets import FORCED_CIRCULATION, ReactorPreset
from shared.errors import ConfigError

SPEED_RPM = 1_800.0
PRESSURE_RISE_KPA = 130.0
NPSH_REQUIRED_M = 20.0
DENSITY_KG_M3 = 705.0  # water at 310 degC, 15 MPa (IAPWS-IF97)
HEAT_CAPACITY_KJ_KG_K = 5.7  # the same point
EFFICIENCY = 0.64  # pump 0.75 x canned motor 0.85
KW_PER_A = 0.665  # sqrt(3) x 480 V x power factor 0.8
BEARING_C = 66.0  # water-lubricated bearing in the cooled motor cavity
VIBRATION_MM_S = 1.4  # a new machine: zone A of ISO 10816-7


class Model(CentrifugalPump):
    """One of the pumps that share the primary flow."""

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
    takes: ClassVar[tuple[str, ...]] = ("primary_pressure",)
    drives: ClassVar[tuple[str, ...]] = ("primary_flow",)

    def __init__(self, rng: np.random.Generator, preset: ReactorPreset = FORCED_CIRCULATION) -> None:
        if not preset.coolant_pumps:
            raise ConfigError(
                "component type coolant_pump",
                [
                    f"a {preset.reactor_type} reactor has no reactor coolant pump; "
                    "remove it, or correct the reactor's reactor_type"
                ],
            )
        self.preset = preset
        self.parallel = preset.coolant_pumps
        design = PumpDesign(
            speed_rpm=SPEED_RPM,
            minimum_flow=0.0,
            flow_kg_s=preset.primary_kg_s / preset.coolant_pumps,
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

    def speed_share(self, load: FloatArray) -> FloatArray:
        """A closed circuit is friction alone: flow goes with speed."""
        return load

    def inlet_c(self, flow_share: FloatArray, load: FloatArray) -> FloatArray:
        """The core's outlet: the less flow for the same power, the hotter."""
        rise_k = self.preset.core_outlet_c - self.preset.core_inlet_c
        return self.preset.core_inlet_c + rise_k * warm(load) / flow_share

    def above_boiling_kpa(self, inlet_c: FloatArray, load: FloatArray) -> FloatArray:  # noqa: ARG002
        """The primary pressure is held whatever the load."""
        return self.preset.primary_kpa - saturation_kpa(inlet_c)

    def tags(
        self, performance: FloatArray, load: FloatArray, surroundings: Surroundings = NOMINAL
    ) -> dict[str, FloatArray]:
        """As every centrifugal pump; a primary pressure that is not held is lost to its suction."""
        loss_kpa = self.preset.primary_kpa * (1.0 - surroundings.get("primary_pressure", 1.0))
        loss_kpa = loss_kpa + surroundings.get("suction_loss_kpa", 0.0)
        return super().tags(performance, load, {"suction_loss_kpa": np.asarray(loss_kpa)})

    def shares(self, tags: Mapping[str, FloatArray], load: FloatArray) -> dict[str, FloatArray]:
        """What it gives of its part of the primary flow."""
        return {"primary_flow": share_of(tags["flow_rate"], self.design.flow_kg_s, load)}
