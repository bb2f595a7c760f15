"""Batch files: the same seed, the same bytes; labels apart from the tags (PRD 1.4)."""

import json

import pyarrow.csv
import pyarrow.parquet
import pytest
import typer
from typer.testing import CliRunner

from edge_agent.commands.simulate import simulate
from shared.errors import ConfigError

CONFIG = """
TX01:
  plant: {poll_period_s: 0.05, timeout_s: 0.05}
  R1:
    coolant_pump: {lambda: 0.02}
"""
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


def test_stream_carries_what_a_plant_could_send_and_no_label(run):
    """One PRD 2.2 message a line, at the site's poll period."""
    result = run("--mode", "stream", "--cycles", "3")
    lines = [json.loads(line) for line in result.output.splitlines()]
    assert [line["cycle"] for line in lines] == [0, 1, 2]
    assert lines[0].keys() == {"timestamp", "site_id", "reactor_id", "component", "cycle", "metrics"}
    assert "flow_rate" in lines[0]["metrics"]
    assert not {"performance", "true_RUL", "fault"} & lines[0]["metrics"].keys()


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
        (["--output-path", "a.csv", "--fault", "leak@3"], "coolant_pump", r"'leak@3'; expected TYPE@CYCLE"),
        (["--output-path", "a.csv", "--fault", "drop"], "coolant_pump", r"'drop'; expected TYPE@CYCLE"),
    ],
)
def test_wrong_option_is_named_with_what_would_be_right(run, options, component, message):
    """A mistake on the command line is one clear ConfigError."""
    with pytest.raises(ConfigError, match=message):
        run(*options, component=component)
