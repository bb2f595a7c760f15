"""The lake holds what it was given, in columns that a query can use."""

import shutil
from datetime import UTC, datetime

import pytest

import control_plane.sinks.lake as sinks_lake
from control_plane.sinks.arrival import Arrival
from control_plane.sinks.lake import LakeReader, LakeWriter
from shared.envelope import Envelope
from shared.errors import ConfigError, Retryable
from shared.schemas import Alert, Record, Telemetry

NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


def arrival(record: Record, seq: int, store: str = "s1") -> Arrival:
    return Arrival(record, record.outgoing().body, Envelope(record.SCHEMA, "TX01", store, seq, "c"))


def telemetry(cycle: int) -> Telemetry:
    return Telemetry(
        timestamp=NOW,
        site_id="TX01",
        reactor_id="R1",
        component="coolant_pump",
        cycle=cycle,
        metrics={"flow_rate": 97.25},
        quality={"vibration_rms": "timeout"},
    )


def alert() -> Alert:
    return Alert(
        timestamp=NOW,
        site_id="TX01",
        reactor_id="R1",
        component="coolant_pump",
        alert_id="a",
        kind="anomaly",
        severity="alarm",
        state="raised",
        cycle=3,
        subject="anomaly",
        value=9.0,
        threshold=3.0,
        message="m",
    )


@pytest.fixture
def lake(tmp_path):
    writer = LakeWriter(tmp_path)
    writer.create()
    return writer, LakeReader(tmp_path)


def test_lake_keeps_numbers_quality_and_origin(lake):
    """A telemetry row comes back with its numbers, reasons, time to the microsecond and origin."""
    writer, reader = lake
    writer.accept([arrival(telemetry(7), 1), arrival(alert(), 2)])
    [row] = reader.rows("SELECT * FROM telemetry")
    assert dict(row["metrics"]) == {"flow_rate": 97.25}
    assert dict(row["quality"]) == {"vibration_rms": "timeout"}
    assert (row["timestamp"], row["cycle"], row["store_id"], row["seq"]) == (NOW, 7, "s1", 1)
    assert reader.rows("SELECT severity FROM alerts WHERE kind = $kind", kind="anomaly") == [
        {"severity": "alarm"}
    ]


def test_a_question_sees_what_came_since_the_last_and_a_lake_that_was_made_anew(lake, tmp_path):
    """Files are listed once for each version; the same number of another table is another version."""
    writer, reader = lake

    def seqs():
        return [row["seq"] for row in reader.rows("SELECT seq FROM telemetry ORDER BY seq")]

    writer.accept([arrival(telemetry(1), 1)])
    assert (seqs(), seqs()) == ([1], [1])
    writer.accept([arrival(telemetry(2), 2)])
    assert seqs() == [1, 2]
    shutil.rmtree(tmp_path / "telemetry")
    again = LakeWriter(tmp_path)
    again.create()
    for seq in (3, 4):
        again.accept([arrival(telemetry(seq), seq)])
    assert seqs() == [3, 4]


def test_spans_show_where_row_numbers_are_missing(lake):
    """The runs of row numbers of a store, over all tables, leave out exactly what is not there."""
    writer, reader = lake
    writer.accept([arrival(telemetry(i), i) for i in (1, 2, 5)] + [arrival(alert(), 3)])
    writer.accept([arrival(telemetry(9), 8, store="s2")])
    assert reader.spans() == {"s1": [(1, 3), (5, 5)], "s2": [(8, 8)]}


def test_a_batch_that_was_written_in_part_is_retried_without_a_repeat(lake, monkeypatch):
    """The disk is full between two tables: the sink says "not now", and then takes the rest."""
    writer, reader = lake
    batch = [arrival(telemetry(7), 1), arrival(alert(), 2)]
    real, full = sinks_lake.write_deltalake, [True]

    def write(table, *arguments, **settings):
        if table.table_uri.rstrip("/").endswith("alerts") and full:
            full.clear()
            raise OSError(28, "No space left on device")
        real(table, *arguments, **settings)

    monkeypatch.setattr(sinks_lake, "write_deltalake", write)
    with pytest.raises(Retryable, match=r"alerts: .*No space left"):
        writer.accept(batch)
    writer.accept(batch)
    assert [row["seq"] for row in reader.rows("SELECT seq FROM telemetry")] == [1]
    assert [row["seq"] for row in reader.rows("SELECT seq FROM alerts")] == [2]


def test_a_commit_whose_answer_was_lost_is_not_made_twice(lake, monkeypatch):
    """The storage took the commit and the answer never came: the retry recognises its own number."""
    writer, reader = lake
    real, lost = sinks_lake.write_deltalake, [True]

    def write(table, *arguments, **settings):
        real(table, *arguments, **settings)
        if lost:
            lost.clear()
            raise OSError("connection reset by peer")

    monkeypatch.setattr(sinks_lake, "write_deltalake", write)
    with pytest.raises(Retryable, match="connection reset"):
        writer.accept([arrival(telemetry(7), 1)])
    writer.accept([arrival(telemetry(7), 1)])
    writer.accept([arrival(telemetry(8), 2)])
    assert [row["seq"] for row in reader.rows("SELECT seq FROM telemetry ORDER BY seq")] == [1, 2]


def test_a_second_writer_is_found_out_before_it_writes_anything_twice(lake, tmp_path):
    """What is new is decided in one process's memory: with two of them the later one ends, and says why."""
    writer, reader = lake
    other = LakeWriter(tmp_path)
    writer.accept([arrival(telemetry(1), 2)])
    other.accept([arrival(telemetry(2), 3)])  # its first word: it has seen what came before
    with pytest.raises(ConfigError, match="another process writes to this lake"):
        writer.accept([arrival(telemetry(3), 4)])
    assert [row["seq"] for row in reader.rows("SELECT seq FROM telemetry ORDER BY seq")] == [2, 3]
