"""ReactorSimulator: reproducible wear with honest labels (PRD 1.2, 1.3)."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from edge_agent.simulation import ReactorSimulator
from edge_agent.simulation.faults import GLITCH_CYCLES, SUDDEN_LOSS
from edge_agent.simulation.timestamps import rfc3339
from shared.errors import ConfigError

PUMP: dict[str, Any] = {"decay_type": "exponential", "lambda": 0.01, "noise_std": 0.01}


def simulator(
    config: Any = PUMP, seed: int = 7, component: str = "coolant_pump", **kw: Any
) -> ReactorSimulator:
    return ReactorSimulator(
        config, site_id="TX01", reactor_id="R1", component=component, random_seed=seed, **kw
    )


def rows(source: ReactorSimulator, count: int) -> list[dict[str, Any]]:
    return [source.simulate_cycle() for _ in range(count)]


def test_cycle_has_the_fields_of_the_prd():
    """Identity, cycle, one key a tag, then the labels; the timestamp is RFC 3339 in UTC, a second a cycle."""
    first, second = rows(simulator(), 2)
    assert list(first) == [
        *("timestamp", "site_id", "reactor_id", "component", "cycle", "shaft_speed", "flow_rate"),
        *("pressure_drop", "temperature_in", "temperature_out", "bearing_temperature", "motor_current"),
        *("vibration_rms", "performance", "true_RUL", "fault"),
    ]
    assert (first["site_id"], first["reactor_id"], first["component"]) == ("TX01", "R1", "coolant_pump")
    assert first["timestamp"] == "2026-01-01T00:00:00Z"
    assert second["timestamp"] == "2026-01-01T00:00:01Z"
    assert (first["cycle"], first["performance"], first["fault"]) == (0, 1.0, None)


@pytest.mark.parametrize("count", [3, 90_000, 100_001])
def test_timestamps_run_on_over_midnight_and_the_leap_day(count):
    """A second a cycle, as NumPy's calendar has it, kept texts or not."""
    start = datetime(2028, 2, 28, 23, 59, 58, tzinfo=UTC)
    texts = rfc3339(int(start.timestamp()), 0, count)
    expected = np.datetime64("2028-02-28T23:59:58") + np.arange(count)
    assert np.array_equal(texts, np.char.add(np.datetime_as_string(expected, unit="s"), "Z"))
    assert not texts.flags.writeable


def test_same_seed_gives_the_same_numbers_and_another_seed_another_unit():
    """Deterministic by seed; units of one type differ a little, so that a model must generalise."""
    assert rows(simulator(), 50) == rows(simulator(), 50)
    quiet = PUMP | {"noise_std": 0.0}
    flows = [simulator(quiet, seed).simulate_cycle() for seed in range(40)]
    per_speed = np.array([row["flow_rate"] / row["shaft_speed"] for row in flows])
    assert 0.003 < per_speed.std() / per_speed.mean() < 0.03


def test_components_of_one_seed_do_not_share_their_noise():
    """The same seed at another reactor is another history."""
    other = ReactorSimulator(PUMP, site_id="TX01", reactor_id="R2", component="coolant_pump", random_seed=7)
    assert other.simulate_cycle()["flow_rate"] != simulator().simulate_cycle()["flow_rate"]


def test_skipping_leads_to_the_same_numbers():
    """A plant that resumes shows what it would have shown."""
    config = PUMP | {"faults": [{"type": "spike", "at_cycle": 30}]}
    resumed = simulator(config)
    resumed.skip(31)
    assert rows(resumed, 5) == rows(simulator(config), 36)[31:]


def test_sudden_failure_shows_clearly_in_the_tags():
    """A step loss of performance is far outside the noise, and its label stays."""
    faulty = simulator(PUMP | {"noise_std": 0.01})
    before = rows(faulty, 10)[-1]
    faulty.inject_fault("sudden_failure")
    after = rows(faulty, 3)
    healthy = rows(simulator(), 13)[10]
    assert healthy["performance"] - after[0]["performance"] == pytest.approx(SUDDEN_LOSS)
    assert after[0]["vibration_rms"] - before["vibration_rms"] > 6 * 0.01 * 8.0
    assert after[0]["true_RUL"] < healthy["true_RUL"] - 20
    assert [row["fault"] for row in after] == ["sudden_failure"] * 3


def test_accelerated_decay_changes_the_rate_and_not_the_state():
    """Performance goes on from where it was, four times as fast."""
    faulty = simulator()
    rows(faulty, 10)
    faulty.inject_fault("accelerated_decay")
    at, later = rows(faulty, 2)
    assert at["performance"] == rows(simulator(), 11)[10]["performance"]
    assert later["performance"] / at["performance"] == pytest.approx(np.exp(-0.04))


@pytest.mark.parametrize(("fault", "sign"), [("spike", 1), ("drop", -1)])
def test_glitch_moves_one_tag_for_three_cycles_and_leaves_the_rest(fault, sign):
    """Only one tag, only its sign, only then; neither performance, RUL nor the noise that follows."""
    faulty = simulator()
    faulty.inject_fault(fault)
    struck, clean = rows(faulty, 10), rows(simulator(), 10)
    moved = [{k for k in a if a[k] != b[k]} for a, b in zip(struck, clean, strict=True)]
    tag = next(iter(moved[0] - {"fault"}))
    assert moved == [{tag, "fault"}] * GLITCH_CYCLES + [set()] * (10 - GLITCH_CYCLES)
    assert sign * (struck[0][tag] - clean[0][tag]) > 0
    assert struck[0]["fault"] == fault


def test_noise_is_a_share_of_the_nominal_span():
    """noise_std 0.02 of vibration's 8 mm/s span is 0.16 mm/s."""
    quiet, noisy = (
        simulator({"lambda": 1e-9, "noise_std": std}).simulate(4000)["vibration_rms"] for std in (0.0, 0.02)
    )
    assert (noisy - quiet).std() == pytest.approx(0.16, rel=0.05)


def test_transmitter_shows_no_more_than_its_range():
    """However large the noise, a tag stays within its range: the plant sends nothing impossible."""
    columns = simulator(PUMP | {"noise_std": 1.0}).simulate(500)
    assert columns["vibration_rms"].min() == 0.0


def test_unknown_fault_and_unknown_tag_are_refused_with_what_is_allowed():
    """Messages name the allowed faults, and the tags that the model has."""
    with pytest.raises(ValueError, match=r"flood.*sudden_failure, accelerated_decay, spike, drop"):
        simulator().inject_fault("flood")
    with pytest.raises(ConfigError, match=r"tags seal_leak.*shaft_speed"):
        simulator(PUMP | {"tags": {"seal_leak": {"unit": "kg/s"}}})
