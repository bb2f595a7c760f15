"""Batch files: the same seed, the same bytes; labels apart from the tags (PRD 1.4)."""

import json

import numpy as np
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
import pytest
import typer
from typer.testing import CliRunner

from edge_agent.commands.simulate import simulate
from shared.config_defaults import builtin_types
from shared.errors import ConfigError

CONFIG = """
TX01:
  plant: {poll_period_s: 0.05, timeout_s: 0.05}
  R1:
    coolant_pump: {lambda: 0.02}
"""
FLEET = """
TX01:
  R1:
    coolant_pump: {}
    heat_exchanger: {decay_type: gamma}
    spare: {type: coolant_pump, decay_type: weibull}
ID01:
  R1:
    coolant_pump: {}
    pump_rig: {}
"""
TAGS = list(builtin_types()["coolant_pump"]["tags"])
app = typer.Typer()
app.command()(simulate)


@pytest.fixture
def run(tmp_path):
    (tmp_path / "fleet.yaml").write_text(CONFIG)
    where = ["--config", str(tmp_path / "fleet.yaml"), "--site-id", "TX01", "--reactor-id", "R1"]

    def invoke(*options: str, component: str = "coolant_pump"):
        result = CliRunner().invoke(app, [*where, "--component", component, *options])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_same_seed_gives_the_same_bytes_and_another_seed_others(run, tmp_path, suffix):
    """`simulate --seed 7` twice writes identical files."""
    files = [tmp_path / f"{name}.{suffix}" for name in "abc"]
    for path, seed in zip(files, ("7", "7", "8"), strict=True):
        assert (
            run("--runs", "3", "--decay-spread", "0.3", "--seed", seed, "--output-path", str(path)).exit_code
            == 0
        )
    first, again, other = (path.read_bytes() for path in files)
    assert first == again
    assert first != other
    assert sorted(tmp_path.glob("*.part")) == []


def test_labels_are_the_last_columns(run, tmp_path):
    """Identity, run, cycle, tags; then performance, true_RUL, fault."""
    path = tmp_path / "a.parquet"
    run("--cycles", "5", "--output-path", str(path), "--fault", "drop@2")
    table = pyarrow.parquet.read_table(path)
    head = ["timestamp", "site_id", "reactor_id", "component", "run", "cycle", "shaft_speed"]
    assert table.column_names[:7] == head
    assert table.column_names[-3:] == ["performance", "true_RUL", "fault"]
    assert table["fault"].to_pylist() == [None, None, "drop", "drop", "drop"]


def test_every_fault_is_a_label_and_a_silent_transmitter_a_hole(run, tmp_path):
    """Sensor faults are labelled as the others are; a dropout is NaN in the file, never a number."""
    path = tmp_path / "a.parquet"
    run("--cycles", "6", "--output-path", str(path), "--fault", "sensor_dropout@2", "--fault", "leak@4")
    table = pyarrow.parquet.read_table(path)
    assert table["fault"].to_pylist() == [None] * 2 + ["sensor_dropout"] * 2 + ["sensor_dropout+leak"] * 2
    holes = [np.isnan(table[tag].to_numpy()).tolist() for tag in TAGS]
    assert sorted(holes)[:-1] == [[False] * 6] * (len(TAGS) - 1)
    assert sorted(holes)[-1] == [False] * 2 + [True] * 4


def test_runs_are_histories_of_their_own_that_end_at_failure(run, tmp_path):
    """Each run starts new, wears at its own rate, and stops at the first cycle with true_RUL 0."""
    path = tmp_path / "a.csv"
    options = ["--runs", "5", "--decay-spread", "0.5", "--stop-at-failure", "--cycles", "2000"]
    run(*options, "--output-path", str(path))
    table = pyarrow.csv.read_csv(path)
    lengths = set()
    for number in range(5):
        history = table.filter(pyarrow.compute.equal(table["run"], number))
        rul = history["true_RUL"].to_pylist()
        assert rul == list(range(len(rul) - 1, -1, -1))
        lengths.add(len(rul))
    assert len(lengths) == 5


def test_run_i_is_seed_plus_i(run, tmp_path):
    """Without a spread, run 1 of seed 7 is run 0 of seed 8."""
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    run("--runs", "2", "--seed", "7", "--output-path", str(paths[0]))
    run("--seed", "8", "--output-path", str(paths[1]))
    both, second = (pyarrow.parquet.read_table(path) for path in paths)
    assert both["flow_rate"].to_pylist()[200:] == second["flow_rate"].to_pylist()


def test_long_history_is_written_in_parts_with_the_same_bits(run, tmp_path, monkeypatch):
    """A row group a part; the same CSV bytes as at once; a failed run ends in its part."""
    whole, parts = tmp_path / "whole.csv", tmp_path / "parts.csv"
    options = ["--cycles", "500", "--runs", "2", "--stop-at-failure", "--seed", "7"]
    run(*options, "--output-path", str(whole))
    monkeypatch.setattr("edge_agent.simulation.batch.CHUNK_CYCLES", 25)
    run(*options, "--output-path", str(parts))
    assert parts.read_bytes() == whole.read_bytes()
    run("--cycles", "60", "--output-path", str(tmp_path / "a.parquet"))
    assert pyarrow.parquet.ParquetFile(tmp_path / "a.parquet").num_row_groups == 3


def test_stream_carries_what_a_plant_could_send_and_no_label(run):
    """One PRD 2.2 message a line, at the site's poll period."""
    result = run("--mode", "stream", "--cycles", "3")
    lines = [json.loads(line) for line in result.output.splitlines()]
    assert [line["cycle"] for line in lines] == [0, 1, 2]
    assert lines[0].keys() == {"timestamp", "site_id", "reactor_id", "component", "cycle", "metrics"}
    assert "flow_rate" in lines[0]["metrics"]
    assert not {"performance", "true_RUL", "fault"} & lines[0]["metrics"].keys()


@pytest.fixture
def fleet(tmp_path):
    """Three simulated components at two sites, and one that can only be replayed."""
    (tmp_path / "many.yaml").write_text(FLEET)

    def invoke(*options: str):
        result = CliRunner().invoke(app, ["--config", str(tmp_path / "many.yaml"), *options])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


def test_whole_fleet_is_one_file_with_every_tag_and_runs_of_its_own(fleet, tmp_path):
    """Left-out options mean all; a tag that a component lacks is null; what has no model is left out."""
    path = tmp_path / "fleet.parquet"
    assert (
        "80 rows, 2 runs of each of 4 components"
        in fleet("--cycles", "10", "--runs", "2", "--output-path", str(path)).output
    )
    table = pyarrow.parquet.read_table(path)
    groups = table.group_by(["site_id", "component", "run"], use_threads=False).aggregate([]).to_pylist()
    assert [(g["site_id"], g["component"], g["run"]) for g in groups] == [
        (site, component, 2 * index + run)
        for index, (site, component) in enumerate(
            [
                ("TX01", "coolant_pump"),
                ("TX01", "heat_exchanger"),
                ("TX01", "spare"),
                ("ID01", "coolant_pump"),
            ]
        )
        for run in range(2)
    ]
    exchanger = table.filter(pyarrow.compute.equal(table["component"], "heat_exchanger"))
    assert exchanger["vibration_rms"].null_count == 20
    assert exchanger["secondary_flow_rate"].null_count == 0
    assert table.column_names[-3:] == ["performance", "true_RUL", "fault"]


def test_folder_gets_a_file_each_with_the_same_numbers_as_the_one_file(fleet, tmp_path):
    """SITE/REACTOR/COMPONENT.parquet, also for a part of the fleet."""
    fleet("--cycles", "10", "--output-path", str(tmp_path / "parts"))
    fleet("--cycles", "10", "--site-id", "TX01", "--output-path", str(tmp_path / "one.parquet"))
    found = sorted(str(path.relative_to(tmp_path / "parts")) for path in (tmp_path / "parts").rglob("*.*"))
    assert found == [
        *("ID01/R1/coolant_pump.parquet", "TX01/R1/coolant_pump.parquet"),
        *("TX01/R1/heat_exchanger.parquet", "TX01/R1/spare.parquet"),
    ]
    one = pyarrow.parquet.read_table(tmp_path / "one.parquet")
    spare = pyarrow.parquet.read_table(tmp_path / "parts/TX01/R1/spare.parquet")
    rows = one.filter(pyarrow.compute.equal(one["component"], "spare"))
    assert rows["vibration_rms"].to_pylist() == spare["vibration_rms"].to_pylist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mode", "stream"], "found 4 components, TX01/R1/coolant_pump.*name one: --site-id"),
        (["--reactor-id", "R9", "--output-path", "a.csv"], r"'\*/R9/\*' is not in the file; it has TX01/R1"),
        (["--component", "pump_rig", "--output-path", "a.csv"], "pump_rig\n?.*cannot be simulated"),
        (["--output-path", "many.yaml"], "'many.yaml'; it must end in .csv or .parquet"),
        (["--output-path", "no/where"], "folder no does not exist"),
        (["--fault", "fouling_surge@3", "--output-path", "a.csv"], "no sense for a coolant_pump"),
    ],
)
def test_mistake_about_the_fleet_is_named(fleet, options, message):
    """What cannot be done with several components is refused with what would be right."""
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        fleet(*options)


@pytest.mark.parametrize(
    ("options", "component", "message"),
    [
        (["--output-path", "a.txt"], "coolant_pump", r"'a.txt'; it must end in .csv or .parquet"),
        ([], "coolant_pump", "--output-path.*\n.*missing"),
        (["--output-path", "no/a.csv"], "coolant_pump", "folder no does not exist"),
        (
            ["--output-path", "a.csv"],
            "valve",
            "'TX01/R1/valve' is not in the file; it has TX01/R1/coolant_pump",
        ),
        (["--output-path", "a.csv", "--fault", "flood@3"], "coolant_pump", r"'flood@3'; expected TYPE@CYCLE"),
        (["--output-path", "a.csv", "--fault", "drop"], "coolant_pump", r"'drop'; expected TYPE@CYCLE"),
        (["--output-path", "a.csv", "--cycles", "1000000001"], "coolant_pump", "at most 1000000000"),
        (["--output-path", "a.csv", "--runs", "1000001"], "coolant_pump", "at most 1000000"),
    ],
)
def test_wrong_option_is_named_with_what_would_be_right(run, options, component, message):
    """A mistake on the command line is one clear ConfigError."""
    with pytest.raises(ConfigError, match=message):
        run(*options, component=component)
