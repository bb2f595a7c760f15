"""The lake's files stay few, no row changes by it, and who reads goes on reading."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import control_plane.sinks.lake as sinks_lake
from control_plane.api.history_follower import HistoryFollower
from control_plane.api.lake_follower import LakeFollower
from control_plane.api.table_tail import TableTail
from control_plane.sinks.lake import LakeReader
from control_plane.sinks.lake_upkeep import FILES_PER_STEP_MAX, SIZES_BYTES, maintain
from shared.schemas import Telemetry
from tests.support.console_lake import EXCHANGER, PUMP, ConsoleLake, gap, prediction, telemetry

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=40)
DAYS, BATCHES_A_DAY, ROWS_A_BATCH = 30, 8, 6
PARTITIONS = 2  # of a telemetry table with a pump and an exchanger


def files(folder: Path) -> int:
    return sum(1 for path in folder.rglob("*") if path.is_file())


def live_files(folder: Path) -> int:
    return len(sinks_lake.DeltaTable(str(folder)).file_uris())


@pytest.fixture
def lake(tmp_path, monkeypatch) -> ConsoleLake:
    """One that lets go of replaced files at once, as if an hour had passed."""
    monkeypatch.setattr(sinks_lake, "KEPT", dict.fromkeys(sinks_lake.KEPT, "interval 0 hours"))
    return ConsoleLake(tmp_path / "lake").create()


def month_of_batches(lake: ConsoleLake, after_day) -> int:
    """Small batches, day by day; returns how many rows each component has."""
    cycle = 0
    for day in range(DAYS):
        for batch in range(BATCHES_A_DAY):
            when = START + timedelta(days=day, hours=24 * batch / BATCHES_A_DAY)
            rows = []
            for _ in range(ROWS_A_BATCH):
                cycle += 1
                when += timedelta(seconds=1)
                rows += [telemetry(PUMP, when, cycle), telemetry(EXCHANGER, when, cycle)]
            lake.write(*rows)
        if day % 3 == 2:
            after_day()
    return cycle


def test_files_stay_few_over_a_month_of_small_batches_and_no_row_changes(lake):
    """Issue 8: the file count is bounded, on the disk too, and each row is there once, as it was."""
    folder, most = lake.folder / "telemetry", [0, 0]

    def day_ends() -> None:
        list(maintain(lake.folder))
        most[0], most[1] = max(most[0], live_files(folder)), max(most[1], files(folder))

    cycles = month_of_batches(lake, day_ends)
    assert cycles == DAYS * BATCHES_A_DAY * ROWS_A_BATCH
    bound = PARTITIONS * FILES_PER_STEP_MAX * len(SIZES_BYTES)
    assert most[0] <= bound < DAYS * BATCHES_A_DAY
    assert most[1] <= bound + 4 * 3 * BATCHES_A_DAY  # the files of the last compaction, and the log's own
    [row] = LakeReader(lake.folder).rows(
        "SELECT count(*) AS rows, count(DISTINCT (store_id, seq)) AS different, sum(cycle) AS cycles,"
        " min(map_extract(metrics, 'flow_rate')[1]) AS flow FROM telemetry"
    )
    assert (row["rows"], row["different"]) == (2 * cycles, 2 * cycles)
    assert row["cycles"] == cycles * (cycles + 1)


def test_writing_goes_on_across_a_compaction(lake):
    """The writer keeps its tables open while another process compacts and removes what it replaced."""
    for cycle in range(40):
        lake.write(telemetry(PUMP, START + timedelta(seconds=cycle), cycle))
        if cycle in (20, 30):
            list(maintain(lake.folder))
    rows = LakeReader(lake.folder).rows("SELECT cycle FROM telemetry ORDER BY cycle")
    assert [row["cycle"] for row in rows] == list(range(40))


def test_a_look_without_a_sweep_joins_files_and_removes_none(lake):
    """What ingest does every minute; the sweep comes every tenth time."""
    for cycle in range(FILES_PER_STEP_MAX + 1):
        lake.write(telemetry(PUMP, START + timedelta(seconds=cycle), cycle))
    there = lake.folder / "telemetry/site_id=TX01/component=coolant_pump"
    [joined] = [done for done in maintain(lake.folder, sweep=False) if done.table == "telemetry"]
    assert (joined.files_after, joined.removed) == (1, 0)
    assert files(there) == FILES_PER_STEP_MAX + 2
    list(maintain(lake.folder))
    assert files(there) == 1


def followers(lake: ConsoleLake) -> tuple[LakeFollower, HistoryFollower]:
    return LakeFollower(lake.folder), HistoryFollower(lake.folder, PUMP, 60, NOW)


@pytest.mark.parametrize("kept", ["interval 1 hours", "interval 0 hours"])
def test_pages_see_each_row_once_whatever_is_compacted_beside_them(tmp_path, monkeypatch, kept):
    """Rows before, between and after compactions; also for a page that slept until its commits were gone."""
    monkeypatch.setattr(sinks_lake, "KEPT", dict.fromkeys(sinks_lake.KEPT, kept))
    lake = ConsoleLake(tmp_path / "lake").create()
    fleet, history = followers(lake)
    for cycle in range(60):
        when = NOW - timedelta(seconds=100 - cycle)
        lake.write(telemetry(PUMP, when, cycle), prediction(PUMP, when, cycle))
        if cycle == 3:
            lake.write(gap("TX01", when, count=7))
        if cycle in (25, 45):
            list(maintain(lake.folder))
        if cycle in (5, 20, 46, 59):
            fleet.refresh(NOW)
            history.refresh(NOW)
    assert [row["cycle"] for row in history.telemetry] == list(range(60))
    assert [row["cycle"] for row in history.predictions] == list(range(60))
    assert fleet.state.telemetry[PUMP]["cycle"] == 59
    assert fleet.state.rows_given_up("TX01") == 7


def test_a_compaction_is_no_news_to_a_tail(tmp_path):
    """A page is not handed the whole history again because its files were rewritten."""
    lake = ConsoleLake(tmp_path / "lake").create()
    tail = TableTail(lake.folder, Telemetry.SCHEMA, ["cycle"])
    for cycle in range(20):
        lake.write(telemetry(PUMP, NOW, cycle))
    tail.skip()
    lake.write(telemetry(PUMP, NOW, 20))
    list(maintain(lake.folder))
    lake.write(telemetry(PUMP, NOW, 21))
    assert live_files(lake.folder / "telemetry") == 2
    found = tail.look()
    assert found is not None
    assert found["cycle"].to_pylist() == [20, 21]
    assert tail.look() is None


def test_what_a_killed_writer_left_goes_after_an_hour_and_not_before(tmp_path):
    """A file of no commit may be of one that is being made; an hour later it is not."""
    lake = ConsoleLake(tmp_path / "lake").create()
    lake.write(telemetry(PUMP, NOW, 1))
    strays = [
        lake.folder / "telemetry/site_id=TX01/component=coolant_pump" / name
        for name in ("a.parquet", "b.parquet")
    ]
    for stray in strays:
        stray.write_bytes(b"half")
    os.utime(strays[0], (time.time() - 3_700,) * 2)
    list(maintain(lake.folder))
    assert [stray.exists() for stray in strays] == [False, True]
    assert len(LakeReader(lake.folder).rows("SELECT * FROM telemetry")) == 1
