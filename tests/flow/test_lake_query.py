"""A person's questions to the lake: answered from what is there now, and able to change nothing."""

import json
import shutil
from datetime import timedelta

import pytest

from control_plane.commands.query import query
from control_plane.sinks.sql import asked
from shared.errors import ConfigError, Retryable
from shared.schemas import utc_now
from tests.support.console_lake import EXCHANGER, PUMP, ConsoleLake, alert, telemetry


@pytest.fixture
def lake(tmp_path):
    lake = ConsoleLake(tmp_path / "lake").create()
    now = utc_now()
    lake.write(*(telemetry(PUMP, now - timedelta(seconds=n), n) for n in range(5)), alert(PUMP, now))
    lake.write(telemetry(EXCHANGER, now, 9))
    return lake.folder


def test_a_question_joins_tables_as_they_stand_now(lake):
    """Any SELECT of DuckDB's over all tables, capital letters or none."""
    sql = (
        "SELECT count(*) AS n, max(t.cycle) AS last FROM Telemetry t JOIN alerts a USING (site_id, component)"
    )
    with asked(lake, sql) as answer:
        assert (answer.columns, list(answer.rows)) == (["n", "last"], [(5, 4)])


def test_only_the_tables_that_are_named_are_opened(lake):
    """One that cannot be read spoils no question to another; a question about all tables sees all."""
    shutil.rmtree(lake / "gaps")
    with asked(lake, "SELECT count(*) FROM telemetry") as answer:
        assert list(answer.rows) == [(6,)]
    with pytest.raises(Retryable), asked(lake, "SELECT table_name FROM information_schema.tables"):
        pass


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM telemetry", "DROP TABLE telemetry", "CREATE TABLE t AS SELECT 1", "SET threads = 1",
        "COPY (SELECT 1) TO '{folder}/out.csv'", "ATTACH '{folder}/new.db'", "SELECT 1; DROP TABLE alerts",
        "SELECT * FROM '{folder}/other.csv'", "SELECT * FROM read_text('{folder}/other.csv')",
        "SELEC 1", "", "SELECT * FROM reactors",
    ],
)  # fmt: skip
def test_what_is_no_question_to_the_lake_is_refused_with_the_names_of_its_tables(lake, tmp_path, sql):
    """Nothing is written, no other file is read, and the refusal says what could be asked."""
    (tmp_path / "other.csv").write_text("a\n1\n")
    before = sorted(tmp_path.rglob("*"))
    with (
        pytest.raises(ConfigError, match="the lake's tables are alerts, audit"),
        asked(lake, sql.format(folder=tmp_path)) as answer,
    ):
        list(answer.rows)
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_lake_the_question_can_be_asked_again_later(tmp_path):
    """Ingest has not begun: that is no error of the question's."""
    with pytest.raises(Retryable, match="no lake here yet"), asked(tmp_path, "SELECT 1"):
        pass


def test_json_is_a_row_a_line_and_the_table_says_where_it_ends(lake, tmp_path, capsys, monkeypatch):
    """All rows for a script; for a screen the first, and a word on the rest."""
    query("SELECT cycle, timestamp FROM telemetry ORDER BY cycle", tmp_path, as_json=True)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["cycle"] for row in rows] == [0, 1, 2, 3, 4, 9]
    assert rows[0]["timestamp"].endswith("+00:00")
    monkeypatch.setattr("control_plane.commands.query.ROWS_SHOWN_MAX", 3)
    query("SELECT cycle FROM telemetry", tmp_path)
    assert "the first 3 rows" in capsys.readouterr().out
