"""Points reach a real server over the line protocol; a server that is away stops nothing."""

import json
import shutil
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from control_plane.sinks.influx import BUFFER_POINTS_MAX, RETRY_AFTER_S, InfluxWriter
from shared.listen import free_port
from tests.support.services import running

READING = {
    "site_id": "TX01",
    "reactor_id": "R2",
    "component": "coolant_pump",
    "timestamp": "2026-01-01T12:00:00.250Z",
    "metrics": {"temperature_in": 225.0, "flow_rate": 96.5},
}


@pytest.fixture
def server(tmp_path: Path):
    program = shutil.which("victoria-metrics")
    if program is None:
        pytest.skip("victoria-metrics is not installed: apt-get install victoria-metrics")
    port = free_port()
    options = [
        f"-httpListenAddr=127.0.0.1:{port}",
        f"-storageDataPath={tmp_path}/vm",
        "-retentionPeriod=100y",
    ]
    with running(program, *options, port=port):
        yield f"http://127.0.0.1:{port}"


def export(url: str, selector: str) -> list[dict]:
    query = urllib.parse.urlencode({"match[]": selector})
    urllib.request.urlopen(f"{url}/internal/force_flush").read()
    text = urllib.request.urlopen(f"{url}/api/v1/export?{query}").read().decode()
    return [json.loads(line) for line in text.splitlines()]


def test_a_point_arrives_with_its_tags_fields_and_time(server):
    """PRD 3.1's example over the real /api/v2/write endpoint: measurement, tags, fields, source time."""
    writer = InfluxWriter(server, "token", "org", "bucket")
    writer.write_point(READING)
    writer.flush()
    found = {row["metric"]["__name__"]: row for row in export(server, '{site_id="TX01"}')}
    assert found["telemetry_flow_rate"]["values"] == [96.5]
    assert found["telemetry_temperature_in"]["values"] == [225.0]
    assert found["telemetry_flow_rate"]["timestamps"] == [1767268800250]
    tags = {
        key: found["telemetry_flow_rate"]["metric"][key] for key in ("reactor_id", "component", "metric_type")
    }
    assert tags == {"reactor_id": "R2", "component": "coolant_pump", "metric_type": "sensor"}


def test_a_server_that_is_away_stops_nothing_and_loses_nothing_within_the_bound(monkeypatch):
    """Writes to a dead address return, the points wait, and only past the bound are they counted lost."""
    monkeypatch.setattr("control_plane.sinks.influx.BUFFER_POINTS_MAX", 3)
    writer = InfluxWriter(f"http://127.0.0.1:{free_port()}", "token", "org", "bucket")
    start = time.monotonic()
    for _ in range(5):
        writer.write_point(READING)
        writer.flush()
    assert time.monotonic() - start < RETRY_AFTER_S
    assert writer.dropped == 2
    assert BUFFER_POINTS_MAX > 3
