"""`edge-agent buffer` shows what the outbox holds while the agent writes to it."""

import json

import pytest
from typer.testing import CliRunner

from edge_agent.commands.buffer import app
from edge_agent.outbox import OutboxStore
from shared.errors import ConfigError
from shared.schemas import Outgoing

KEY = "TX01/R1/coolant_pump"


@pytest.fixture
def store(tmp_path):
    with OutboxStore(tmp_path / "outbox.db") as store:
        store.commit([Outgoing("telemetry/1", KEY, i * 1_000, b'{"cycle": %d}' % i) for i in range(1_200)])
        store.commit([Outgoing("audit/1", "TX01", 5, b'{"index": 0}')])
        store.acknowledge(range(1, 101))
        yield store


def asked(tmp_path, *arguments: str) -> str:
    result = CliRunner().invoke(app, [arguments[0], "--data-dir", str(tmp_path), *arguments[1:]])
    assert result.exit_code == 0, result.output
    return result.output


def test_stats_agree_with_the_store(tmp_path, store):
    """Rows, bytes, ages and schemas are those that the store itself counts."""
    told, own = json.loads(asked(tmp_path, "stats", "--json")), store.stats()
    assert told["pending_rows"] == own.pending_rows == 1_101
    assert told["pending_bytes"] == own.pending_bytes
    assert told["pending_by_schema"] == {"audit/1": 1, "telemetry/1": 1_100}
    assert (told["acked_rows"], told["last_seq"], told["log_entries"]) == (100, 1_201, 1)
    assert told["store_id"] == store.store_id
    assert told["newest"] == "1970-01-01T00:19:59.000+00:00"
    assert "telemetry/1 1,100" in asked(tmp_path, "stats")


def test_peek_shows_the_rows_that_go_next(tmp_path, store):
    """The oldest pending rows, in order, as a table or as JSON."""
    lines = [json.loads(line) for line in asked(tmp_path, "peek", "--rows", "2", "--json").splitlines()]
    assert [line["seq"] for line in lines] == [101, 102]
    assert lines[0]["record"] == {"cycle": 100}
    assert '{"cycle": 100}' in asked(tmp_path, "peek")


def test_export_writes_every_row_once_and_keeps_them(tmp_path, store):
    """Pending rows, or all that are kept, one a line; rows committed meanwhile do not disturb it."""
    asked(tmp_path, "export", "--to", str(tmp_path / "rows.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [line["seq"] for line in lines] == list(range(101, 1_202))
    everything = [json.loads(line) for line in asked(tmp_path, "export", "--all").splitlines()]
    assert [line["seq"] for line in everything] == list(range(1, 1_202))
    assert [line["acknowledged"] is not None for line in everything] == [True] * 100 + [False] * 1_101
    assert store.stats().pending_rows == 1_101


def test_a_folder_without_an_outbox_is_named(tmp_path):
    """The message names the file that is not there; nothing is created."""
    result = CliRunner().invoke(app, ["stats", "--data-dir", str(tmp_path)])
    assert isinstance(result.exception, ConfigError)
    assert "outbox.db does not exist" in str(result.exception)
    assert not list(tmp_path.iterdir())
