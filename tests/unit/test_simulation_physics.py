"""The equations of the simulated components."""

import numpy as np
import pytest

from edge_agent.simulation.components import heat_exchanger, model, model_types
from edge_agent.simulation.physics import centrifugal
from edge_agent.simulation.presets import FORCED_CIRCULATION
from shared.config_defaults import builtin_types
from shared.errors import ConfigError


def tags(component_type: str, performance: float = 1.0, load: float = 1.0) -> dict[str, float]:
    unit = model(component_type)(np.random.default_rng(1))
    found = unit.tags(np.array([performance]), np.array([load]))
    return {name: float(values[0]) for name, values in found.items()}


@pytest.mark.parametrize("component_type", model_types())
def test_model_has_exactly_the_tags_of_its_type(component_type):
    """Tags are exactly those of component_types.yaml, and every one stays within its range until failure."""
    declared = builtin_types()[component_type]["tags"]
    assert list(model(component_type).spans) == list(declared)
    for performance in (1.0, 0.6, 0.3, 0.0):
        for name, value in tags(component_type, performance).items():
            low, high = declared[name]["range"]
            assert low <= value <= high, (name, performance)


def test_pump_follows_the_affinity_laws():
    """Flow goes with speed, head with its square, power with its cube."""
    slow, fast = tags("coolant_pump", load=0.5), tags("coolant_pump", load=1.0)
    for name, exponent in {"flow_rate": 1, "pressure_drop": 2, "motor_current": 3}.items():
        assert fast[name] / slow[name] == pytest.approx(2**exponent)


def test_worn_pump_loses_flow_and_head_and_gains_current_heat_and_vibration():
    """Wear lowers flow and head, raises motor current, bearing temperature and vibration."""
    new, worn = tags("coolant_pump"), tags("coolant_pump", 0.3)
    assert worn["flow_rate"] < 0.95 * new["flow_rate"]
    assert worn["pressure_drop"] < 0.9 * new["pressure_drop"]
    assert worn["motor_current"] > 1.1 * new["motor_current"]
    assert worn["vibration_rms"] > 3 * new["vibration_rms"]


def test_bearing_stays_flat_for_long_then_runs_away():
    """Half of the way to failure brings less than a quarter of the rise."""
    new, half, failed = (tags("coolant_pump", p)["bearing_temperature"] for p in (1.0, 0.65, 0.3))
    assert half - new < 0.25 * (failed - new)
    assert failed - new == pytest.approx(centrifugal.BEARING_RISE_K)


def test_new_pump_and_exchanger_stand_at_the_nominal_point():
    """SMART's numbers: 310 degC from the core, 270 degC back, steam at 274 degC, within unit variation."""
    exchanger, pump = tags("heat_exchanger"), tags("coolant_pump")
    assert pump["temperature_in"] == pytest.approx(310, abs=2)
    assert pump["shaft_speed"] == 1800
    assert exchanger["temperature_out"] == pytest.approx(270, abs=3)
    assert exchanger["secondary_temperature_out"] == pytest.approx(274, abs=3)


@pytest.mark.parametrize("performance", [1.0, 0.5, 0.0])
def test_exchanger_conserves_heat(performance):
    """What the primary side gives, the secondary side takes."""
    t = tags("heat_exchanger", performance)
    fall = t["temperature_in"] - t["temperature_out"]
    given = t["flow_rate"] * FORCED_CIRCULATION.primary_kj_kg_k * fall
    rise = t["secondary_temperature_out"] - t["secondary_temperature_in"]
    taken = t["secondary_flow_rate"] * FORCED_CIRCULATION.secondary_kj_kg_k * rise
    assert given == pytest.approx(taken)


def test_fouling_costs_heat_and_pressure_and_saturates():
    """Kern-Seaton: the first half of the lost performance costs more steam temperature than the second."""
    clean, half, fouled = (tags("heat_exchanger", p) for p in (1.0, 0.5, 0.0))
    steam = [t["secondary_temperature_out"] for t in (clean, half, fouled)]
    assert steam[0] - steam[1] > steam[1] - steam[2] > 0
    assert clean["pressure_drop"] < half["pressure_drop"] < fouled["pressure_drop"]


def test_effectiveness_meets_its_limits():
    """A small exchanger transfers NTU, an endless one everything (Kays and London)."""
    small, endless = heat_exchanger.effectiveness(np.array([1e-6, 1e4]), np.array([1.0]), np.array([2.0]))
    assert small == pytest.approx(1e-6, rel=1e-3)
    assert endless == pytest.approx(1.0)


def test_type_without_equations_is_refused_with_the_known_ones():
    """The message names the types that can be simulated and the way out."""
    with pytest.raises(ConfigError, match=r"coolant_pump,.* heat_exchanger,.*--replay"):
        model("pump_rig")
