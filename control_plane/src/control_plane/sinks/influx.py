"""Records to InfluxDB 2 (PRD 3.1), for dashboards; the lake stays the history of record.

A server that is away never stops the lake: points wait in a bounded buffer, the oldest give way, and
what gave way is counted.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from influxdb_client import InfluxDBClient, Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from control_plane.sinks.arrival import Arrival
from shared import wording
from shared.schemas import Alert, PredictionRecord, Telemetry

BUFFER_POINTS_MAX = 100_000  # about 30 MB: some 15 minutes of 100 components at 1 Hz
BATCH_POINTS_MAX = 5_000  # InfluxDB's own advice for one write
TIMEOUT_MS = 2_000  # a slow server holds up ingest by no more than this, once per RETRY_AFTER_S
RETRY_AFTER_S = 10.0

log = structlog.get_logger()


class InfluxWriter:
    """Buffers points and writes them in batches to one bucket (PRD 3.1's interface)."""

    def __init__(self, db_url: str, token: str, org: str, bucket: str) -> None:
        self._client = InfluxDBClient(db_url, token, org=org, timeout=TIMEOUT_MS)
        self._write = self._client.write_api(write_options=SYNCHRONOUS)
        self._bucket = bucket
        self._points: deque[str] = deque(maxlen=BUFFER_POINTS_MAX)
        self._away_until = 0.0
        self.dropped = 0

    def write_point(self, sensor_data: Mapping[str, Any]) -> None:
        """Buffer one reading: PRD 2.2's message (`metrics` object) as measurement `telemetry`."""
        self._add("telemetry", "sensor", sensor_data, sensor_data["metrics"])

    def flush(self) -> None:
        """Write what is buffered; on failure keep it and try again after `RETRY_AFTER_S`."""
        while self._points and time.monotonic() >= self._away_until:
            batch = [self._points[i] for i in range(min(BATCH_POINTS_MAX, len(self._points)))]
            try:
                self._write.write(self._bucket, record=batch)
            except (ApiException, HTTPError, OSError) as error:
                self._away_until = time.monotonic() + RETRY_AFTER_S
                log.warning("InfluxDB not written", points=len(self._points), reason=str(error)[:200])
                return
            for _ in batch:
                self._points.popleft()

    def accept(self, batch: Sequence[Arrival]) -> None:
        """A sink: telemetry, predictions and alerts as points; the rest is not for dashboards."""
        for arrival in batch:
            match arrival.record:
                case Telemetry() as record:
                    self.write_point(record.model_dump())
                case PredictionRecord() as record:
                    self._add("prediction", "prediction", record.model_dump(), _prediction_fields(record))
                case Alert() as record:
                    fields = {
                        "message": record.message,
                        "state": record.state.value,
                        "severity": record.severity,
                    }
                    self._add("alert", "alert", record.model_dump(), fields | {"kind": str(record.kind)})
                case _:
                    pass
        self.flush()

    def _add(
        self, measurement: str, metric_type: str, origin: Mapping[str, Any], fields: Mapping[str, Any]
    ) -> None:
        point = Point(measurement).tag("metric_type", metric_type)
        for tag in ("site_id", "reactor_id", "component"):
            point.tag(tag, origin[tag])
        for name, value in fields.items():
            point.field(name, value)
        time_of = origin["timestamp"]
        when = time_of if isinstance(time_of, datetime) else datetime.fromisoformat(time_of)
        line = point.time(when, WritePrecision.US).to_line_protocol(precision=WritePrecision.NS)
        if line:  # a reading without a single good value has no fields
            self.dropped += len(self._points) == self._points.maxlen
            self._points.append(line)


def _prediction_fields(record: PredictionRecord) -> dict[str, Any]:
    numbers = {"rul": record.rul, "rul_low": record.rul_low, "rul_high": record.rul_high}
    fields: dict[str, Any] = {name: value for name, value in numbers.items() if value is not None}
    if record.withheld_because:
        fields["withheld_because"] = record.withheld_because
    if record.contributions:
        fields["contributions"] = "; ".join(map(wording.contribution, record.contributions))
    return fields | {
        "rul_state": record.rul_state.value,
        "anomaly_score": record.anomaly_score,
        "is_anomaly": record.is_anomaly,
        "model_version": f"{record.model.name}/{record.model.version}",
    }
