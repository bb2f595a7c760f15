"""Recordings and the ledger: what a plant shows, and the truth about it."""

import json
import math

import pytest

from edge_agent.simulation.ledger import Ledger
from edge_agent.simulation.plant import check_registers, next_tick_s, simulated
from edge_agent.simulation.replay import Recording
from shared.errors import ConfigError
from shared.reactor_config import parse_fleet
from shared.schemas import ComponentId

RIG = {
    "RIG01": {
        "LOOP1": {
            "pump_rig": {
                "tags": {
                    "current": {"unit": "A", "column": "Current"},
                    "pressure": {"unit": "bar", "column": "Pressure"},
                }
            }
        }
    }
}
KEYS = ["TX01/R1/coolant_pump", "TX01/R1/heat_exchanger"]


def rig(document=RIG):
    return parse_fleet(document, "test").components()


def recording(folder, files: dict[str, str], components=None) -> Recording:
    for name, text in files.items():
        (folder / name).write_text(text)
    found = Recording(folder, components or rig())
    found.load()
    return found


def test_files_are_one_recording_in_natural_order(tmp_path):
    """2.csv comes before 10.csv, the cycle counts over all files, and ; or , both do."""
    found = recording(
        tmp_path,
        {"10.csv": "Current,Pressure\n3,30\n", "2.csv": "datetime;Pressure;Current\nx;10;1\nx;20;2\n"},
    )
    rows = [tick[0] for tick in found.rows()]
    assert [(row.cycle, row.values) for row in rows] == [
        (0, {"current": 1.0, "pressure": 10.0}),
        (1, {"current": 2.0, "pressure": 20.0}),
        (2, {"current": 3.0, "pressure": 30.0}),
    ]
    assert [tick[0].cycle for tick in found.rows(from_row=1)] == [1, 2]


def test_other_columns_are_labels_and_time_is_left_out(tmp_path):
    """Labels travel apart from what a plant could send; the plant has its own clock."""
    text = "datetime;Current;Pressure;anomaly;note\n2020-03-09 10:34:33;1;2;0.0;ok\n2020;1;2;nan;\n"
    first, second = (tick[0] for tick in recording(tmp_path, {"1.csv": text}).rows())
    assert first.labels == {"anomaly": 0.0, "note": "ok"}
    assert second.labels == {"anomaly": None, "note": None}


def test_empty_and_nan_cells_are_not_a_number(tmp_path):
    """A hole in a recording is served as NaN, never as 0 or as the row before."""
    found = recording(tmp_path, {"1.csv": "Current,Pressure\n,nan\n"})
    assert all(math.isnan(value) for value in next(found.rows())[0].values.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Current;Druck\n1;2\n", r"1.csv line 1: no column 'Pressure'; found 'Current', 'Druck'.*`column`"),
        (
            "Current;Pressure\n1;2\n1;high\n",
            r"1.csv line 3, column 'Pressure': found 'high'; expected a number",
        ),
        ("Current;Pressure\n1;2\n1\n", r"1.csv line 3: 1 cells; the header has 2; complete the row"),
        ("Current;Pressure\n", "no rows, only headers"),
        ("", r"1.csv line 1: no column"),
    ],
)
def test_fault_of_a_recording_is_named_with_file_line_and_column(tmp_path, text, message):
    """A wrong recording is refused before anything is served, with the place and the remedy."""
    with pytest.raises(ConfigError, match=message):
        recording(tmp_path, {"1.csv": text})


def test_every_problem_of_a_recording_is_listed_at_once(tmp_path):
    """Two bad cells and a ragged row are three problems."""
    with pytest.raises(ConfigError) as caught:
        recording(tmp_path, {"1.csv": "Current,Pressure\na,1\n1\n", "2.csv": "Current,Pressure\n1,b\n"})
    assert len(caught.value.problems) == 3


def test_empty_folder_and_tag_without_column_are_refused(tmp_path):
    """The message says what is missing and what to do."""
    with pytest.raises(ConfigError, match=r"holds no \*.csv file; name a folder of recordings"):
        recording(tmp_path, {})
    pump = parse_fleet({"TX01": {"R1": {"coolant_pump": {}}}}, "test").components()
    with pytest.raises(ConfigError, match="coolant_pump tag shaft_speed: no column; say which"):
        recording(tmp_path, {"1.csv": "a\n1\n"}, pump)


def test_recorded_hole_that_its_register_cannot_hold_is_refused(tmp_path):
    """NaN does not exist in an int16: better no plant than an invented number."""
    document = json.loads(json.dumps(RIG))
    current = document["RIG01"]["LOOP1"]["pump_rig"]["tags"]["current"]
    current["register"] = {"address": 2, "type": "int16"}
    document["RIG01"]["LOOP1"]["pump_rig"]["tags"]["pressure"]["register"] = {"address": 4}
    with pytest.raises(ConfigError, match=r"line 2, column 'Current': nan does not fit int16.*float type"):
        recording(tmp_path, {"1.csv": "Current,Pressure\n,1\n"}, rig(document))


def test_register_too_small_for_its_range_is_refused():
    """A plant starts only if every register can hold what its tag may show."""
    tags = {"flow_rate": {"unit": "kg/s", "range": [0, 1000], "register": {"address": 2, "type": "int16"}}}
    fleet = {"TX01": {"R1": {"coolant_pump": {"tags": tags}}}}
    check_registers("test", parse_fleet(fleet, "test").components())
    tags["flow_rate"]["register"]["scale"] = 0.01
    with pytest.raises(ConfigError, match=r"tag flow_rate: 1000.0 does not fit int16 with scale 0.01"):
        check_registers("test", parse_fleet(fleet, "test").components())


def test_simulated_rows_are_the_same_wherever_they_start():
    """The rows from cycle 7 on are the same as those of a plant that began at 0."""
    components = parse_fleet({"TX01": {"R1": {"coolant_pump": {}, "heat_exchanger": {}}}}, "t").components()
    whole, resumed = simulated(components, seed=3), simulated(components, seed=3, from_cycle=7)
    for _ in range(7):
        next(whole)
    assert next(whole) == next(resumed)
    assert {row.component_id for row in next(whole)} == set(components)
    assert ComponentId("TX01", "R1", "coolant_pump") in components


def entries(cycle: int) -> list[dict]:
    return [{"key": key, "cycle": cycle, "values": {"flow_rate": 1.5}, "labels": {}} for key in KEYS]


def written(path, cycles: int) -> bytes:
    with Ledger(path, KEYS) as ledger:
        assert ledger.last_cycle is None
        for cycle in range(cycles):
            ledger.append(entries(cycle))
    return path.read_bytes()


def test_ledger_goes_on_after_its_last_complete_cycle(tmp_path):
    """Opened again it names the last cycle that every component has, and appends."""
    path = tmp_path / "ledger.jsonl"
    whole = written(path, 3)
    with Ledger(path, KEYS) as ledger:
        assert ledger.last_cycle == 2
        ledger.append(entries(3))
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert path.read_bytes().startswith(whole)
    assert [(line["key"], line["cycle"]) for line in lines[-2:]] == [(KEYS[0], 3), (KEYS[1], 3)]
    assert lines[0].keys() == {"time", "key", "cycle", "values", "labels"}


@pytest.mark.parametrize("lost", range(1, 320, 13))
def test_torn_ledger_loses_only_the_tick_that_was_never_shown(tmp_path, lost):
    """Cut anywhere, it resumes at a complete tick: a kill -9 leaves no line twice and none torn."""
    path = tmp_path / "ledger.jsonl"
    whole = written(path, 3)
    path.write_bytes(whole[:-lost])
    with Ledger(path, KEYS) as ledger:
        assert ledger.last_cycle is not None
        for cycle in range(ledger.last_cycle + 1, 3):
            ledger.append(entries(cycle))
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [(line["key"], line["cycle"]) for line in lines] == [(key, c) for c in range(3) for key in KEYS]


def test_ledger_of_another_plant_is_refused_and_left_alone(tmp_path):
    """Components added or taken away: the file is not cut to nothing but refused."""
    path = tmp_path / "ledger.jsonl"
    whole = written(path, 3)
    for keys in (["TX01/R2/coolant_pump"], KEYS[:1], [*KEYS, "TX01/R2/coolant_pump"]):
        with pytest.raises(ConfigError, match="ledger of another plant"), Ledger(path, keys):
            pass
        assert path.read_bytes() == whole


@pytest.mark.parametrize(("now_s", "tick_s"), [(10.0, 10.25), (10.24, 10.25), (10.25, 10.75), (10.6, 10.75)])
def test_ticks_lie_between_the_agents_polls(now_s, tick_s):
    """With a period of 0.5 s polls are at 10.0, 10.5, ...; ticks at 10.25, 10.75, ..., strictly ahead."""
    assert next_tick_s(now_s, 0.5) == tick_s
