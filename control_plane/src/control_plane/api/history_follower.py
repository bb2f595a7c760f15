"""Rows of one component's last minutes, kept up while somebody looks at it."""

from bisect import bisect_left
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from deltalake.exceptions import TableNotFoundError

from control_plane.api.lake_follower import LAKE_ERRORS, PREDICTIONS, TELEMETRY
from control_plane.api.table_tail import TableTail, TailLost
from control_plane.sinks.lake_place import plain
from shared.errors import Retryable
from shared.schemas import ComponentId, PredictionRecord, Telemetry

ROWS_MAX = 100_000  # per table: 60 minutes at 20 polls a second, and room; older rows go first

Row = dict[str, Any]


class HistoryFollower:
    """Telemetry and the active model's predictions of `key`, in order of time, from `minutes` ago on."""

    def __init__(self, lake: Path, key: ComponentId, minutes: int, now: datetime) -> None:
        self._key = key
        self._span = timedelta(minutes=minutes)
        partition = {"site_id": key.site_id, "component": key.component}
        start = now - self._span
        self._telemetry_tail = TableTail(lake, Telemetry.SCHEMA, TELEMETRY, start, partition)
        self._predictions_tail = TableTail(lake, PredictionRecord.SCHEMA, PREDICTIONS, start, partition)
        self.telemetry: list[Row] = []
        self.predictions: list[Row] = []

    def refresh(self, now: datetime) -> None:
        """Take in what has arrived and let go what is too old; Retryable when the lake cannot be read."""
        start = now - self._span
        try:
            self.telemetry = self._merged(self.telemetry, self._telemetry_tail, start)
            self.predictions = self._merged(self.predictions, self._predictions_tail, start)
        except TableNotFoundError:
            return  # nothing has been written yet: no curves
        except LAKE_ERRORS as error:
            raise Retryable(f"the history of {self._key.key} cannot be read: {plain(error)}") from error

    def _merged(self, known: list[Row], tail: TableTail, start: datetime) -> list[Row]:
        rows = known + self._own(tail)
        if len(rows) > len(known):
            by_origin = {(row["timestamp"], row["seq"]): row for row in rows}
            rows = [row for _, row in sorted(by_origin.items(), key=lambda item: item[0])]
        first = bisect_left(rows, start, key=lambda row: row["timestamp"])
        return rows[max(first, len(rows) - ROWS_MAX) :]

    def _own(self, tail: TableTail) -> list[Row]:
        try:
            found = tail.look()
        except TailLost:
            found = tail.look()  # all since the beginning; what is known already is told apart
        if found is None:
            return []
        rows: list[Row] = [row for row in found.to_pylist() if row["reactor_id"] == self._key.reactor_id]
        for row in rows:
            if "metrics" in row:
                row["metrics"] = dict(row["metrics"] or ())
        return [row for row in rows if row.get("mode", "active") == "active"]
