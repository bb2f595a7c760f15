"""MockModbusAdapter (PRD 2.1)."""

import pytest

from edge_agent.simulation import ReactorSimulator
from edge_agent.sources import MockModbusAdapter


def simulator(component: str = "coolant_pump") -> ReactorSimulator:
    return ReactorSimulator({}, site_id="TX01", reactor_id="R1", component=component)


def test_one_round_of_reads_is_one_cycle():
    """Each quantity comes from the same simulate_cycle(); asking again begins the next poll."""
    adapter, twin = MockModbusAdapter(simulator()), simulator()
    for _ in range(3):
        row = twin.simulate_cycle()
        assert adapter.read_temperature() == row["temperature_out"]
        assert adapter.read_pressure() == row["pressure_drop"]
        assert adapter.read_flow_rate() == row["flow_rate"]
        assert adapter.read_vibration() == row["vibration_rms"]


def test_quantity_that_the_component_lacks_is_refused():
    """A heat exchanger has no vibration: an error, not a number."""
    with pytest.raises(ValueError, match="heat_exchanger has no vibration_rms; its tags are flow_rate"):
        MockModbusAdapter(simulator("heat_exchanger")).read_vibration()


def test_injected_fault_reaches_the_readings():
    """Faults go through to the simulator."""
    adapter, healthy = MockModbusAdapter(simulator()), MockModbusAdapter(simulator())
    adapter.inject_fault("sudden_failure")
    assert adapter.read_vibration() > healthy.read_vibration() + 0.4


def test_fault_takes_the_settings_that_the_simulator_takes():
    """Tag, size and duration: a bias of one span on one tag, for one poll; a wrong setting is refused."""
    adapter, healthy = MockModbusAdapter(simulator()), MockModbusAdapter(simulator())
    adapter.inject_fault("sensor_bias", tag="vibration_rms", size=0.5, duration_cycles=1)
    assert adapter.read_flow_rate() == healthy.read_flow_rate()
    assert adapter.read_vibration() == pytest.approx(healthy.read_vibration() + 4.0)
    assert adapter.read_vibration() == healthy.read_vibration()
    with pytest.raises(ValueError, match="sensor_bias on tag 'level'"):
        adapter.inject_fault("sensor_bias", tag="level")


def test_answer_takes_the_latency_asked_for(monkeypatch):
    """Latency plus up to the jitter."""
    slept: list[float] = []
    monkeypatch.setattr("edge_agent.sources.mock.time.sleep", slept.append)
    MockModbusAdapter(simulator(), latency_s=0.1, jitter_s=0.05).read_flow_rate()
    assert 0.1 <= slept[0] <= 0.15
