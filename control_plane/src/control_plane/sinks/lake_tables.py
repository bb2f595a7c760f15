"""The lake's tables: which record goes where, and its columns.

Every table has the record's origin (`store_id`, `seq`, `config_hash`) and its `timestamp` (source
time, microseconds UTC). `body` is the exact JSON that arrived where a later check needs its bytes.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from control_plane.sinks.arrival import Arrival
from control_plane.sinks.batch import Batch, others
from shared.schemas import (
    Alert,
    AuditEntry,
    GapRecord,
    PredictionRecord,
    SignedCheckpoint,
    SiteStatus,
    Telemetry,
)

_TEXT, _WHOLE, _REAL, _YES_NO = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_ORIGIN = [
    ("site_id", _TEXT),
    ("timestamp", pa.timestamp("us", "UTC")),
    ("store_id", _TEXT),
    ("seq", _WHOLE),
    ("config_hash", _TEXT),
]
_CONTRIBUTION = pa.struct(
    [("tag", _TEXT), ("of", _TEXT), ("effect", _REAL), ("value", _REAL), ("normal", _REAL), ("unit", _TEXT)]
)
_COMPONENT = [("reactor_id", _TEXT), ("component", _TEXT), ("cycle", _WHOLE)]


class TableSpec(NamedTuple):
    """A table's name, columns and partition columns."""

    name: str
    schema: pa.Schema
    partition_by: list[str]


def _table(name: str, columns: list[tuple[str, pa.DataType]], *partition_by: str) -> TableSpec:
    return TableSpec(name, pa.schema([*_ORIGIN, *columns]), ["site_id", *partition_by])


TABLES: dict[str, TableSpec] = {
    Telemetry.SCHEMA: _table(
        "telemetry",
        [*_COMPONENT, ("metrics", pa.map_(_TEXT, _REAL)), ("quality", pa.map_(_TEXT, _TEXT))],
        "component",
    ),
    PredictionRecord.SCHEMA: _table(
        "predictions",
        [
            *_COMPONENT,
            ("prediction_id", _TEXT),
            ("model_name", _TEXT),
            ("model_version", _WHOLE),
            ("model_sha256", _TEXT),
            ("mode", _TEXT),
            ("rul_state", _TEXT),
            ("rul", _REAL),
            ("rul_low", _REAL),
            ("rul_high", _REAL),
            ("withheld_because", _TEXT),
            ("contributions", pa.list_(_CONTRIBUTION)),
            ("anomaly_score", _REAL),
            ("anomaly_threshold", _REAL),
            ("is_anomaly", _YES_NO),
            ("ood_score", _REAL),
            ("ood_threshold", _REAL),
            ("is_ood", _YES_NO),
            ("inference_time_ms", _REAL),
            ("window_sha256", _TEXT),
            ("window", pa.binary()),
        ],
        "component",
    ),
    Alert.SCHEMA: _table(
        "alerts",
        [
            *_COMPONENT,
            ("alert_id", _TEXT),
            ("event_id", _TEXT),
            ("kind", _TEXT),
            ("severity", _TEXT),
            ("state", _TEXT),
            ("subject", _TEXT),
            ("value", _REAL),
            ("threshold", _REAL),
            ("message", _TEXT),
            ("operator", _TEXT),
            ("reason", _TEXT),
            ("until", pa.timestamp("us", "UTC")),
        ],
    ),
    AuditEntry.SCHEMA: _table(
        "audit", [("index", _WHOLE), ("event", _TEXT), ("subject", _TEXT), ("body", _TEXT)]
    ),
    SignedCheckpoint.SCHEMA: _table("checkpoints", [("size", _WHOLE), ("note", _TEXT)]),
    SiteStatus.SCHEMA: _table(
        "site_status",
        [
            ("agent_version", _TEXT),
            ("last_seq", _WHOLE),
            ("settled_seq", _WHOLE),
            ("outbox_rows", _WHOLE),
            ("polls", _WHOLE),
            ("polls_failed", _WHOLE),
            ("polls_missed", _WHOLE),
            ("models", _TEXT),
        ],
    ),
    GapRecord.SCHEMA: _table(
        "gaps",
        [
            ("gap_store_id", _TEXT),  # whose rows were given up; `store_id` is where this row comes from
            ("from_seq", _WHOLE),
            ("to_seq", _WHOLE),
            ("count", _WHOLE),
            ("reason", _TEXT),
            ("runs", pa.list_(pa.list_(_WHOLE))),  # unbroken runs; empty: all of `from_seq` to `to_seq`
        ],
    ),
}


def named(sql: str) -> list[TableSpec]:
    """The tables whose names stand in a question: to open one, its whole log is read."""
    return [spec for spec in TABLES.values() if re.search(rf"\b{spec.name}\b", sql, re.IGNORECASE)]


def tables(batch: Sequence[Arrival]) -> dict[str, pa.Table]:
    """The rows of a batch by schema, each schema's in order."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for arrival in others(batch):
        rows[arrival.envelope.schema].append(row(arrival))
    found = {
        schema: pa.Table.from_pylist(made, schema=TABLES[schema].schema) for schema, made in rows.items()
    }
    if isinstance(batch, Batch) and batch.readings.bodies:
        as_objects = [found[Telemetry.SCHEMA]] if Telemetry.SCHEMA in found else []
        found[Telemetry.SCHEMA] = pa.concat_tables([batch.readings.table, *as_objects])
    return found


def row(arrival: Arrival) -> dict[str, Any]:
    """The columns of one arrival; columns that its record does not have stay empty."""
    record, envelope = arrival.record, arrival.envelope
    origin = {"store_id": envelope.store_id, "seq": envelope.seq, "config_hash": envelope.config_hash}
    if isinstance(record, Telemetry):  # most of all records, and flat: no dump, and no body is kept
        return record.__dict__ | origin
    columns: dict[str, Any] = record.model_dump()
    columns |= origin
    columns["body"] = arrival.body.decode()
    match record:
        case PredictionRecord():
            columns |= {f"model_{key}": value for key, value in columns["model"].items()}
            columns["mode"] = record.model.mode
        case SiteStatus():
            columns["models"] = arrival.body.decode()
        case GapRecord():
            columns["gap_store_id"] = record.store_id
        case _:
            pass
    return columns
