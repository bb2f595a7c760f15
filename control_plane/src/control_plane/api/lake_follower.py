"""Keeps a `FleetState` up with the lake: one question over everything at first, then only what is new."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa
from deltalake.exceptions import DeltaError, TableNotFoundError

from control_plane.api.fleet_state import FleetState, Row
from control_plane.api.table_tail import TableTail, TailLost
from control_plane.sinks.lake import LakeReader
from control_plane.sinks.lake_place import plain
from shared.errors import Retryable
from shared.schemas import GapRecord, PredictionRecord, SiteStatus, Telemetry

KNOWN_FOR = timedelta(days=7)  # what has been silent for longer shows as never heard: bounds the first look
LOOK_ROWS_MAX = 20_000  # more at once is a backlog that came in, which the question handles better
LAKE_ERRORS = (DeltaError, pa.ArrowException, duckdb.Error, OSError)

_PLACE = ["site_id", "reactor_id", "component", "timestamp", "seq", "cycle"]
TELEMETRY = [*_PLACE, "metrics", "quality"]
PREDICTIONS = [
    *_PLACE,
    "prediction_id",
    *("model_name", "model_version", "model_sha256", "mode", "rul_state", "rul", "rul_low", "rul_high"),
    *("withheld_because", "contributions"),
    *("anomaly_score", "anomaly_threshold", "is_anomaly", "is_ood"),
]
_STATUS = ["site_id", "timestamp", "seq", "agent_version", "outbox_rows", "polls", "polls_failed"]
_GAPS = ["site_id", "gap_store_id", "from_seq", "to_seq", "count"]


class _Followed(NamedTuple):
    """A table: its question at the first look, its tail, and who takes the rows."""

    question: str
    tail: TableTail
    take: Callable[[list[Row]], None]


class LakeFollower:
    """Holds the fleet's newest rows. Used by one thread at a time; the first refresh opens the lake."""

    def __init__(self, lake: Path) -> None:
        self._lake = lake
        self._reader = LakeReader(lake)
        self.state = FleetState()
        self._started = False
        self._tables = self._followed()

    def refresh(self, now: datetime) -> None:
        """Take in what has arrived; Retryable when the lake is not there or cannot be read."""
        try:
            if not self._started:
                self._start(now)
            for table in self._tables:
                self._follow(table, now)
        except TableNotFoundError as error:
            raise Retryable(f"no lake under {self._lake} yet: ingest has not written to it") from error
        except LAKE_ERRORS as error:
            raise Retryable(f"the lake under {self._lake} cannot be read: {plain(error)}") from error

    def _start(self, now: datetime) -> None:
        for table in self._tables:
            table.tail.skip()  # before the question: a row that arrives between is seen twice, never not
        for table in self._tables:
            self._ask(table, now)
        self._started = True

    def _follow(self, table: _Followed, now: datetime) -> None:
        try:
            new = table.tail.look()
        except TailLost:
            table.tail.skip()
            self._ask(table, now)
            return
        if new is None:
            return
        if new.num_rows > LOOK_ROWS_MAX:
            self._ask(table, now)
        else:
            table.take(new.to_pylist())

    def _ask(self, table: _Followed, now: datetime) -> None:
        table.take(self._reader.rows(table.question, since=now - KNOWN_FOR))

    def _followed(self) -> list[_Followed]:
        def tail(schema: str, columns: list[str]) -> TableTail:
            return TableTail(self._lake, schema, columns)

        state, component = self.state, "site_id, reactor_id, component"
        return [
            _Followed(
                _newest("telemetry", TELEMETRY, component),
                tail(Telemetry.SCHEMA, TELEMETRY),
                state.take_telemetry,
            ),
            _Followed(
                _newest("predictions", PREDICTIONS, f"{component}, mode"),
                tail(PredictionRecord.SCHEMA, PREDICTIONS),
                state.take_predictions,
            ),
            _Followed(
                _newest("site_status", _STATUS, "site_id"),
                tail(SiteStatus.SCHEMA, _STATUS),
                state.take_status,
            ),
            _Followed(_every("gaps", _GAPS), tail(GapRecord.SCHEMA, _GAPS), state.take_gaps),
        ]


def _newest(table: str, columns: list[str], group: str) -> str:
    """The newest row per group, as one question."""
    return (
        f"SELECT unnest(newest) FROM (SELECT arg_max(r, (r.timestamp, r.seq)) AS newest FROM "  # noqa: S608
        f"(SELECT {', '.join(columns)} FROM {table} WHERE timestamp >= $since) r GROUP BY {group})"
    )


def _every(table: str, columns: list[str]) -> str:
    """All rows: a gap is never too old to be counted."""
    return f"SELECT {', '.join(columns)} FROM {table} WHERE $since IS NOT NULL"  # noqa: S608 - names are ours
