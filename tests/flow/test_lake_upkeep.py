"""The lake's files stay few, no row changes by it, and who reads goes on reading."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import control_plane.sinks.lake as sinks_lake
from control_plane.sinks.lake import LakeReader
from control_plane.sinks.lake_upkeep import FILES_PER_STEP_MAX, SIZES_BYTES, maintain
from tests.support.console_lake import EXCHANGER, PUMP, ConsoleLake, telemetry

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS, BATCHES_A_DAY, ROWS_A_BATCH = 30, 12, 6
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
        after_day()
    return cycle


def test_files_stay_few_over_a_month_of_small_batches_and_no_row_changes(lake):
    """Issue 8: the file count is bounded, on the disk too, and each row is there once, as it was."""
    folder, most = lake.folder / "telemetry", [0, 0]

    def day_ends() -> None:
        list(maintain(lake.folder))
        most[0], most[1] = max(most[0], live_files(folder)), max(most[1], files(folder))

    cycles = month_of_batches(lake, day_ends)
    bound = PARTITIONS * FILES_PER_STEP_MAX * len(SIZES_BYTES)
    assert most[0] <= bound < DAYS * BATCHES_A_DAY
    assert most[1] <= bound + 4 * BATCHES_A_DAY  # the files of the last compaction, and the log's own
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
