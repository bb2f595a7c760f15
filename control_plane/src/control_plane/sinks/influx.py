"""Lines to InfluxDB 2's `/api/v2/write` (PRD 3.1), for dashboards; the lake stays the history of record."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from control_plane.sinks.arrival import Arrival
from control_plane.sinks.influx_points import LINES, lines_of, telemetry_line
from control_plane.sinks.lake_tables import row
from shared.errors import Retryable

BUFFER_POINTS_MAX = 100_000  # about 30 MB, for `write_point` and `accept`
BATCH_POINTS_MAX = 5_000  # InfluxDB's own advice for one write
TIMEOUT_MS = 2_000  # a slow server holds up its writer by no more than this, once per RETRY_AFTER_S
RETRY_AFTER_S = 10.0
MALFORMED = (400, 413, 422)  # of these points the server will take none, whenever they come

log = structlog.get_logger()


class InfluxWriter:
    """Writes to one bucket (PRD 3.1's interface). `dropped` points gave way in a full buffer, `rejected`
    ones the server calls malformed."""

    def __init__(self, db_url: str, token: str, org: str, bucket: str) -> None:
        self._client = InfluxDBClient(db_url, token, org=org, timeout=TIMEOUT_MS)
        self._write = self._client.write_api(write_options=SYNCHRONOUS)
        self._bucket = bucket
        self._points: deque[str] = deque(maxlen=BUFFER_POINTS_MAX)
        self._away_until = 0.0
        self.dropped = 0
        self.rejected = 0

    def write_point(self, sensor_data: Mapping[str, Any]) -> None:
        """Buffer one reading: PRD 2.2's message (`metrics` object) as measurement `telemetry`.

        In a full buffer the oldest point gives way, and is counted.
        """
        self._buffer(telemetry_line(sensor_data))

    def accept(self, batch: Sequence[Arrival]) -> None:
        """A sink where no lake is behind it to catch up from (else `InfluxFeed`). Never raises."""
        for arrival in batch:
            if arrival.envelope.schema in LINES:
                for line in lines_of(arrival.envelope.schema, row(arrival)):
                    self._buffer(line)
        self.flush()

    def _buffer(self, line: str) -> None:
        if line:  # a reading without a single good value has no fields
            self.dropped += len(self._points) == self._points.maxlen
            self._points.append(line)

    def flush(self) -> None:
        """Write what is buffered; on failure keep it and try again after `RETRY_AFTER_S`. Never raises."""
        while self._points and time.monotonic() >= self._away_until:
            batch = [self._points[i] for i in range(min(BATCH_POINTS_MAX, len(self._points)))]
            try:
                self.write(batch)
            except Retryable as error:
                self._away_until = time.monotonic() + RETRY_AFTER_S
                log.warning("InfluxDB not written", points=len(self._points), reason=str(error))
                return
            for _ in batch:
                self._points.popleft()

    def write(self, lines: Sequence[str]) -> None:
        """Write at most `BATCH_POINTS_MAX` lines of the protocol now; Retryable while that fails.

        What the server calls malformed is looked for by halves, left out, told and counted.
        """
        try:
            self._write.write(self._bucket, record=list(lines))
        except (ApiException, HTTPError, OSError) as error:
            if not isinstance(error, ApiException) or error.status not in MALFORMED:
                raise Retryable(f"InfluxDB: {str(error)[:200]}") from error
            if len(lines) > 1:
                self.write(lines[: len(lines) // 2])
                self.write(lines[len(lines) // 2 :])
                return
            self.rejected += 1
            log.error("InfluxDB refuses a point", point=lines[0][:200], reason=str(error.body)[:200])
