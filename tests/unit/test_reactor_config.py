"""A wrong file is refused with every problem at once, each with its place and what is allowed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml

from shared.config_defaults import REACTOR_TYPES
from shared.errors import EXIT_CONFIG, ConfigError
from shared.reactor_config import ReactorType, json_schema, load_fleet, parse_fleet
from shared.schemas import ComponentId

ROOT = Path(__file__).parents[2]
PRD_EXAMPLE = """
TX01:
  R1:
    coolant_pump:
      decay_type: exponential
      lambda: 0.02
      noise_std: 0.01
      fail_threshold: 0.3
    heat_exchanger:
      decay_type: linear
      slope: 0.001
"""
# (what is wrong, the file's text, what the message must say: place, what was found, what is allowed)
MISTAKES = [
    ("not YAML", "TX01: {R1: [", ["line 1", "not valid YAML"]),
    ("a key twice", "TX01: {R1: {}}\nTX01: {R2: {}}", ["line 2", "'TX01' is written twice"]),
    ("empty", "", ["expected a mapping of sites", "TX01: {R1"]),
    (
        "unknown component type",
        "TX01: {R1: {warp_core: {}}}",
        ["TX01.R1.warp_core", "'warp_core'", "coolant_pump, heat_exchanger"],
    ),
    (
        "misspelt field",
        "TX01: {R1: {coolant_pump: {lamda: 0.02}}}",
        ["TX01.R1.coolant_pump.lamda", "did you mean 'lambda'"],
    ),
    (
        "number out of range",
        "TX01: {R1: {coolant_pump: {noise_std: -1}}}",
        ["TX01.R1.coolant_pump.noise_std", "found -1", "greater than or equal to 0"],
    ),
    (
        "not a number",
        "TX01: {R1: {coolant_pump: {lambda: fast}}}",
        ["TX01.R1.coolant_pump.lambda", "found 'fast'", "valid number"],
    ),
    (
        "unknown choice",
        "TX01: {R1: {reactor_type: fusion, coolant_pump: {}}}",
        ["TX01.R1.reactor_type", "'fusion'", "'forced_circulation'"],
    ),
    (
        "registers overlap",
        "TX01: {R1: {coolant_pump: {tags: {a: {unit: K, register: {address: 10}}, "
        "b: {unit: K, register: {address: 11}}}}}}",
        ["TX01.R1.coolant_pump", "b and a both use holding register 11"],
    ),
    (
        "a maximum per read that splits a value",
        "TX01: {R1: {coolant_pump: {registers_per_read_max: 1}}}",
        ["TX01.R1.coolant_pump", "registers_per_read_max 1 would split shaft_speed: a float32 has 2"],
    ),
    (
        "a gap over a tag",
        "TX01: {R1: {coolant_pump: {readable_gaps: [{address: 17, count: 3}]}}}",
        ["TX01.R1.coolant_pump", "readable_gaps[0] and vibration_rms both use holding register 17"],
    ),
    (
        "the same unit twice",
        "TX01: {R1: {coolant_pump: {unit: 3}, heat_exchanger: {unit: 3}}}",
        ["TX01", "R1.heat_exchanger and R1.coolant_pump both use Modbus unit 3"],
    ),
    (
        "timeout longer than the period",
        "TX01: {plant: {poll_period_s: 1, timeout_s: 2}, R1: {coolant_pump: {}}}",
        ["TX01.plant", "timeout_s 2.0 must not exceed poll_period_s 1.0"],
    ),
    (
        "limit on a tag that is not there",
        "TX01: {R1: {coolant_pump: {thresholds: {limits: {flow: {low: 1}}}}}}",
        ["TX01.R1.coolant_pump", "names ['flow']", "flow_rate"],
    ),
    (
        "a rate of the other decay",
        "TX01: {R1: {heat_exchanger: {decay_type: linear, lambda: 0.1}}}",
        ["TX01.R1.heat_exchanger", "linear takes slope"],
    ),
    (
        "address past the table",
        "TX01: {R1: {coolant_pump: {tags: {a: {unit: K, register: {address: 65535}}}}}}",
        ["TX01.R1.coolant_pump.tags.a.register", "float32 at 65535 reaches past 65535"],
    ),
    (
        "a site's name with a blank",
        "TX 01: {R1: {coolant_pump: {}}}",
        ["found site 'TX 01'", "letters"],
    ),
    ("a name that the centre has", "witness: {R1: {coolant_pump: {}}}", ["witness", "choose another name"]),
    ("a reactor's name with a slash", "TX01: {a/b: {coolant_pump: {}}}", ["TX01.a/b", "match pattern"]),
    ("a component's name with a blank", "TX01: {R1: {my pump: {type: coolant_pump}}}", ["TX01.R1.my pump"]),
    ("a text where a section belongs", "TX01: {R1: pump}", ["TX01.R1", "'pump'", "dictionary"]),
]


def test_the_product_file_and_the_requirements_example_load(tmp_path):
    """Both the file in the repository and the example of the requirements document are valid."""
    assert set(load_fleet(ROOT / "reactor_config.yaml").sites) == {"TX01", "ID01", "RIG01"}
    fleet = parse_fleet(yaml.safe_load(PRD_EXAMPLE), "example")
    pump = fleet.components()[ComponentId("TX01", "R1", "coolant_pump")]
    assert (pump.lambda_, pump.fail_threshold, pump.unit) == (0.02, 0.3, 1)
    assert pump.tags["shaft_speed"].register_.address == 2


@pytest.mark.parametrize(("text", "said"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_mistake_is_named_with_its_place(tmp_path, text, said):
    """Each kind of mistake gives one message: where, what is allowed."""
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_fleet(path)
    assert len(caught.value.problems) == 1, caught.value
    assert str(caught.value).startswith(f"{path}: 1 problem")
    for part in said:
        assert part in caught.value.problems[0]


def test_all_mistakes_are_told_at_once():
    """Three mistakes in three places give three lines."""
    document = {"TX01": {"plant": {"prot": 1}, "R1": {"coolant_pump": {"noise_std": 7}, "warp_core": {}}}}
    with pytest.raises(ConfigError) as caught:
        parse_fleet(document, "x")
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("mistake", MISTAKES[:10], ids=[m[0] for m in MISTAKES[:10]])
def test_the_commands_exit_78_on_a_broken_file(tmp_path, mistake):
    """Ten kinds of mistake, each given to the real command: exit 78, one message, no traceback."""
    (tmp_path / "fleet.yaml").write_text(mistake[1])
    program = Path(sys.executable).parent / "edge-agent"
    done = subprocess.run(
        [program, "check", "--config", tmp_path / "fleet.yaml", "--site", "TX01"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == EXIT_CONFIG
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n  - ") == 1
    for part in mistake[2]:
        assert part in done.stderr


def test_the_schema_for_editors_is_the_one_in_the_documents():
    """`make schema` has been run since the models last changed."""
    assert json.loads((ROOT / "docs/reactor_config.schema.json").read_text()) == json_schema()


def test_a_changed_number_changes_the_hash():
    """Two configurations that differ in one number have different hashes; the same one has one hash."""
    first = parse_fleet({"TX01": {"R1": {"coolant_pump": {"lambda": 0.02}}}}, "a")
    again = parse_fleet({"TX01": {"R1": {"coolant_pump": {"lambda": 0.02}}}}, "b")
    other = parse_fleet({"TX01": {"R1": {"coolant_pump": {"lambda": 0.021}}}}, "a")
    assert first.hash() == again.hash() != other.hash()


def test_the_reactor_types_are_told_alike_in_both_places():
    assert get_args(ReactorType) == REACTOR_TYPES


ALARMS = {
    "component_types": {
        "battery": {
            "tags": {"voltage": {"unit": "V"}},
            "alarms": {"limit": {"on_delay": 7, "latching": True}, "sensor": {"on_delay": 9}},
        }
    },
    "TX01": {"R1": {"battery": {"alarms": {"limit": {"on_delay": 4}, "anomaly": {"deadband": 0.2}}}}},
}


def test_alarm_settings_are_the_components_then_its_types_then_the_defaults():
    """Setting by setting: a component that changes one delay keeps what its type says of the others."""
    alarms = parse_fleet(ALARMS, "t").components()[ComponentId("TX01", "R1", "battery")].alarms
    assert (alarms.limit.on_delay, alarms.limit.latching, alarms.limit.off_delay) == (4, True, 5)
    assert (alarms.sensor.on_delay, alarms.anomaly.deadband, alarms.rul_low.on_delay) == (9, 0.2, 2)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"alarms": {"limit": {"on_delay": 0}}}, "on_delay"),
        ({"alarms": {"anomaly": {"deadband": 1.0}}}, "deadband"),
        ({"alarms": {"pressure": {}}}, "pressure"),
        ({"alarms": {"sensor": {"deadband": 0.1}}}, "deadband"),
        ({"alarms": None}, "alarms"),
        (
            {"thresholds": {"limits": {"flow_rate": {"low": 1, "high": 2, "deadband": 0.5}}}},
            "leaves nothing between low 1.0 and high 2.0",
        ),
    ],
)
def test_alarm_settings_that_cannot_be_are_refused(section, said):
    with pytest.raises(ConfigError, match=said):
        parse_fleet({"TX01": {"R1": {"coolant_pump": section}}}, "t")
