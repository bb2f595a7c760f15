"""The simulated day in the lake, and in InfluxDB as it follows the lake."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from control_plane.dashboards.faults import fault_rows
from control_plane.sinks.arrival import Arrival
from control_plane.sinks.influx import InfluxWriter
from control_plane.sinks.influx_feed import InfluxFeed
from control_plane.sinks.influx_points import fault_line
from control_plane.sinks.lake import LakeWriter
from dashboards.check.day import Day, readings, records
from dashboards.check.influxd import Influx, influxdb
from shared.envelope import Envelope
from shared.reactor_config import FleetConfig
from shared.schemas import Record

BATCH_RECORDS = 50_000  # of a commit; some 100 MB as records


@dataclass(frozen=True)
class Filled:
    """What the check asks: the same records in both."""

    day: Day
    fleet: FleetConfig
    lake: Path
    influx: Influx
    faults: list[dict[str, Any]]


@contextmanager
def filled(day: Day, folder: Path | None = None) -> Iterator[Filled]:
    """A lake and an InfluxDB that hold the day; removed afterwards where no folder is given."""
    with TemporaryDirectory() as scratch:
        place = folder or Path(scratch)
        fleet, lake = day.fleet(), place / "lake"
        _write_lake(day, fleet, lake)
        (place / "influxdb").mkdir()
        with influxdb(place / "influxdb") as influx:
            feed = InfluxFeed(lake, cast(InfluxWriter, influx))
            while feed.step():
                pass
            faults = list(fault_rows(_ledger(day, fleet)))
            influx.write([fault_line(row) for row in faults])
            yield Filled(day, fleet, lake, influx, faults)


def _write_lake(day: Day, fleet: FleetConfig, folder: Path) -> None:
    writer = LakeWriter(folder)
    writer.create()
    seqs: dict[str, int] = defaultdict(int)
    batch: list[Arrival] = []
    for key, config in fleet.components().items():
        for made in records(day, key, config):
            batch += [_arrival(record, seqs) for record in made]
            if len(batch) >= BATCH_RECORDS:
                writer.accept(batch)
                batch = []
    writer.accept(batch)


def _arrival(record: Record, seqs: dict[str, int]) -> Arrival:
    site = record.key.split("/", 1)[0]
    seqs[site] += 1
    return Arrival(record, b"", Envelope(record.SCHEMA, site, f"store-{site}", seqs[site], "c0ffee"))


def _ledger(day: Day, fleet: FleetConfig) -> Iterator[dict[str, Any]]:
    """What the plants would write down."""
    for key, config in fleet.components().items():
        for cycle, row in enumerate(readings(day, key, config)):
            when = day.at(cycle).isoformat()
            yield {"time": when, "key": key.key, "cycle": cycle, "labels": {"fault": row["fault"]}}
