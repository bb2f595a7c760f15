"""Points reach a real server over the line protocol; one that is away, or a death, loses nothing."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import control_plane.sinks.influx_feed as feed_room
import control_plane.sinks.lake as sinks_lake
from control_plane.commands.dashboards import faults
from control_plane.sinks.influx import InfluxWriter
from control_plane.sinks.influx_feed import FILE_NAME, InfluxFeed
from control_plane.sinks.influx_points import telemetry_line
from control_plane.sinks.lake_upkeep import maintain
from edge_agent.simulation.ledger import Ledger
from shared.errors import Retryable
from shared.listen import free_port
from shared.schemas import Telemetry
from tests.support.console_lake import PUMP, ConsoleLake, alert, gap, prediction, telemetry
from tests.support.influx import INFLUX_URL, export, values, victoria_metrics
from tests.support.pipeline import until

READING = {
    "site_id": "TX01",
    "reactor_id": "R2",
    "component": "coolant_pump",
    "timestamp": "2026-01-01T12:00:00.250Z",
    "metrics": {"temperature_in": 225.0, "flow_rate": 96.5},
}
START = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with victoria_metrics(tmp_path_factory.mktemp("vm"), free_port()) as url:
        yield url


@pytest.fixture
def lake(tmp_path) -> ConsoleLake:
    return ConsoleLake(tmp_path / "lake").create()


def writer(url: str) -> InfluxWriter:
    return InfluxWriter(url, "token", "org", "bucket")


def poll(name: str, cycle: int) -> Telemetry:
    """A reading of a tag that is this test's own, so that tests share a server."""
    return telemetry(PUMP, START + timedelta(seconds=cycle), cycle, {name: float(cycle)})


def test_a_point_arrives_with_its_tags_fields_and_time(server):
    """PRD 3.1's example over the real /api/v2/write endpoint: measurement, tags, fields, source time."""
    own = writer(server)
    own.write_point(READING)
    own.flush()
    found = {row["metric"]["__name__"]: row for row in export(server, '{reactor_id="R2"}')}
    assert found["telemetry_flow_rate"]["values"] == [96.5]
    assert found["telemetry_temperature_in"]["values"] == [225.0]
    assert found["telemetry_flow_rate"]["timestamps"] == [1767268800250]
    metric = found["telemetry_flow_rate"]["metric"]
    tags = {key: metric[key] for key in ("reactor_id", "component", "metric_type")}
    assert tags == {"reactor_id": "R2", "component": "coolant_pump", "metric_type": "sensor"}


def test_a_full_buffer_gives_up_its_oldest_points_and_counts_them(monkeypatch):
    """Writes to a dead address return, the points wait, and only past the bound are they counted lost."""
    monkeypatch.setattr("control_plane.sinks.influx.BUFFER_POINTS_MAX", 3)
    own = writer(f"http://127.0.0.1:{free_port()}")
    for _ in range(5):
        own.write_point(READING)
        own.flush()
    assert own.dropped == 2


def test_a_batch_and_the_lake_make_the_same_points(lake, monkeypatch):
    """Without a lake behind it the writer is a sink too; a point is the same whichever way it came."""
    records = [prediction(PUMP, START, 1), alert(PUMP, START), poll("flow_rate", 1), gap("TX01", START)]
    arrivals = [lake._arrival(each) for each in records]
    lake._writer.accept(arrivals)
    own = writer(f"http://127.0.0.1:{free_port()}")
    own.accept(arrivals)
    buffered, written = sorted(own._points), []
    monkeypatch.setattr(own, "write", written.extend)
    InfluxFeed(lake.folder, own).step()
    assert len(buffered) == 3
    assert buffered == sorted(written)


def test_rows_of_one_microsecond_stay_apart_and_a_repeat_stays_one_point():
    """PRD 3.1, timestamp collisions: a later row never replaces an earlier one; the same row is the same."""
    line_of = telemetry_line
    row = poll("flow_rate", 1).model_dump() | {"seq": 41}
    first, again, other = line_of(row), line_of(dict(row)), line_of(row | {"seq": 42})
    assert first == again != other
    assert first.rsplit(" ", 1)[1] == "1767268801000000041"
    bare = {**READING, "metrics": {"flow_rate": 1.0}}
    assert line_of(READING).rsplit(" ", 1)[1] != line_of(bare).rsplit(" ", 1)[1]


def test_telemetry_predictions_and_alerts_follow_the_lake(server, lake):
    """What the lake commits is in InfluxDB, the shadow's answers told apart; a second look writes nothing."""
    lake.write(poll("follows", 1), prediction(PUMP, START, 1), prediction(PUMP, START, 2, mode="shadow"))
    lake.write(alert(PUMP, START), poll("follows", 2))
    feed = InfluxFeed(lake.folder, writer(server))
    while feed.step():
        pass
    assert values(server, "telemetry_follows") == [1.0, 2.0]
    assert {row["metric"]["mode"] for row in export(server, "prediction_rul")} == {"active", "shadow"}
    lake.write(poll("follows", 3))
    assert feed.step()
    assert values(server, "telemetry_follows") == [1.0, 2.0, 3.0]
    assert not feed.step()


def test_only_what_a_route_sends_there_gets_there(server, lake):
    """A route that leaves InfluxDB out keeps a component's rows from it, also when they are caught up on."""
    lake.write(poll("routed", 1))
    InfluxFeed(
        lake.folder, writer(server), lambda schema, key: (schema, key) != ("telemetry/1", PUMP.key)
    ).step()
    assert values(server, "telemetry_routed") == []


def test_a_plants_own_ledger_marks_where_its_faults_began(server, tmp_path, capsys):
    """`control-plane dashboards faults` on what a plant writes; a second run adds no mark."""
    path, keys = tmp_path / "plant.jsonl", ["TX01/R7/coolant_pump"]
    with Ledger(path, keys) as ledger:
        for cycle, fault in enumerate([None, "leak", "leak", None, "spike"]):
            entry = {"key": keys[0], "cycle": cycle, "values": {}, "labels": {"fault": fault}}
            ledger.append([entry])
    for _ in range(2):
        faults(path, server, influx_token=server, as_json=True)  # any token does
        assert capsys.readouterr().out == '{"faults": 2}\n'
    until(lambda: values(server, "fault_cycle") == [1.0, 4.0])


@pytest.mark.parametrize("kept", ["interval 1 hours", "interval 0 hours"])
def test_what_an_outage_missed_is_written_when_the_server_is_back(server, lake, monkeypatch, kept):
    """The lake goes on meanwhile, and compacts; also where the commits of the outage are gone by then."""
    monkeypatch.setattr(sinks_lake, "KEPT", dict.fromkeys(sinks_lake.KEPT, kept))
    lake.create()
    name = "outage_" + kept.split()[1]
    lake.write(poll(name, 0))
    while InfluxFeed(lake.folder, writer(server)).step():
        pass
    away = InfluxFeed(lake.folder, writer(f"http://127.0.0.1:{free_port()}"))
    for cycle in range(1, 31):
        lake.write(poll(name, cycle))
        if cycle in (10, 20):
            list(maintain(lake.folder))
            with pytest.raises(Retryable, match="InfluxDB"):
                away.step()
    assert values(server, f"telemetry_{name}") == [0.0]
    while InfluxFeed(lake.folder, writer(server)).step():
        pass
    assert values(server, f"telemetry_{name}") == [float(n) for n in range(31)]


def test_a_dead_server_never_holds_up_whoever_gives_it_a_batch(lake, monkeypatch):
    """accept returns at once and the feed ends when asked, though nobody answers."""
    monkeypatch.setattr(feed_room, "RETRY_AFTER_S", 0.05)
    lake.write(poll("dead", 1))
    with InfluxFeed(lake.folder, writer(f"http://127.0.0.1:{free_port()}")) as feed:
        begun = time.monotonic()
        for _ in range(1_000):
            feed.accept([])
        assert time.monotonic() - begun < 2.0


KILLS = int(os.environ.get("INFLUX_KILLS", "1"))
CHILD = """
import os, signal, sys, threading, time
from pathlib import Path
from control_plane.sinks.influx import InfluxWriter
from control_plane.sinks.influx_feed import InfluxFeed
from tests.flow.test_influx import poll
from tests.support.console_lake import ConsoleLake
folder, url, first, moment = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
lake = ConsoleLake(folder).create()
lake._seq = first
with InfluxFeed(folder, InfluxWriter(url, "token", "org", "bucket")) as feed:
    threading.Timer(moment, os.kill, (os.getpid(), signal.SIGKILL)).start()
    for cycle in range(first, first + 100_000):
        lake.write(poll("killed", cycle))
        feed.accept([])
"""


def test_killed_at_any_moment_it_lacks_no_point_that_the_lake_has(server, tmp_path):
    """kill -9 between the lake's commit, the points and the mark: the next life writes what is missing."""
    folder, first = tmp_path / "lake", 0
    for kill in range(KILLS):
        command = [sys.executable, "-c", CHILD, str(folder), server, str(first), str(0.4 + 0.21 * kill)]
        done = subprocess.run(command, check=False, timeout=180, cwd=Path(__file__).parents[2])
        assert done.returncode == -signal.SIGKILL
        first += 100_000
    rows = sinks_lake.LakeReader(folder).rows("SELECT cycle FROM telemetry ORDER BY cycle")
    assert len(rows) >= KILLS
    with InfluxFeed(folder, writer(server)):
        until(lambda: values(server, "telemetry_killed") == [float(row["cycle"]) for row in rows])
    assert (folder / FILE_NAME).exists()


if INFLUX_URL:  # beside the tests above, which have a server of their own

    def test_influxdb_2_itself_takes_the_points():
        """The same over InfluxDB 2, where there is one (INFLUX_URL, _TOKEN, _ORG, _BUCKET)."""
        from influxdb_client import InfluxDBClient

        place = [os.environ[f"INFLUX_{name}"] for name in ("TOKEN", "ORG", "BUCKET")]
        own = InfluxWriter(INFLUX_URL, *place)
        own.write([telemetry_line(poll("real", n).model_dump() | {"seq": n}) for n in range(10)])
        flux = f'from(bucket: "{place[2]}") |> range(start: 0) |> filter(fn: (r) => r._field == "real")'
        with InfluxDBClient(INFLUX_URL, place[0], org=place[1]) as client:
            found = [row.get_value() for table in client.query_api().query(flux) for row in table.records]
        assert sorted(found) == [float(n) for n in range(10)]
