"""A row as a line of InfluxDB's protocol (PRD 3.1): measurement, tags, fields, source time."""

import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from influxdb_client import Point

from shared import wording
from shared.schemas import Alert, Contribution, PredictionRecord, Telemetry

COLLIDING_MAX = 1_000  # rows of one series and microsecond that stay apart, a nanosecond each

Row = Mapping[str, Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TAGS = ("site_id", "reactor_id", "component")


def telemetry_line(row: Row) -> str:
    """A poll; its fields are the tags' numbers. Empty without a single good one."""
    return _line("telemetry", {"metric_type": "sensor"}, row, dict(row["metrics"] or ()))


def quality_line(row: Row) -> str:
    """What a poll could not read, and why. Empty where every value was good."""
    bad = dict(row.get("quality") or ())
    why = ", ".join(f"{tag}: {reason}" for tag, reason in sorted(bad.items()))
    fields = {"bad_values": len(bad), "reasons": why} if bad else {}
    return _line("quality", {"metric_type": "sensor"}, row, fields)


def prediction_line(row: Row) -> str:
    """A model's answer. What a shadow says is told apart by the tag `mode`."""
    fields = {name: row[name] for name in ("rul", "rul_low", "rul_high", "withheld_because")}
    fields |= {name: row[name] for name in ("rul_state", "anomaly_score", "is_anomaly")}
    reasons = [wording.contribution(Contribution(**found)) for found in row["contributions"] or ()]
    fields["contributions"] = "; ".join(reasons) or None
    fields["anomaly_threshold"] = row["anomaly_threshold"]
    fields["model_version"] = f"{row['model_name']}/{row['model_version']}"
    fields["version"] = int(row["model_version"])  # a number, whose changes InfluxQL can find
    return _line("prediction", {"metric_type": "prediction", "mode": row["mode"]}, row, fields)


def alert_line(row: Row) -> str:
    """A transition of an alert."""
    fields = {name: row[name] for name in ("message", "state", "severity", "kind")}
    return _line("alert", {"metric_type": "alert"}, row, fields)


def fault_line(row: Row) -> str:
    """A fault that a simulated plant injected: its ledger's word, never a site's."""
    return _line("fault", {"metric_type": "fault"}, row, {"fault": row["fault"], "cycle": row["cycle"]})


LINES: Mapping[str, tuple[Callable[[Row], str], ...]] = {  # the rest is not for dashboards
    Telemetry.SCHEMA: (telemetry_line, quality_line),
    PredictionRecord.SCHEMA: (prediction_line,),
    Alert.SCHEMA: (alert_line,),
}


def lines_of(schema: str, row: Row) -> list[str]:
    """A row's points, none of them empty."""
    return [line for line_of in LINES.get(schema, ()) if (line := line_of(row))]


def _line(measurement: str, tags: Mapping[str, str], row: Row, fields: Mapping[str, Any]) -> str:
    point = Point(measurement)
    for name, value in (*tags.items(), *((name, row[name]) for name in _TAGS)):
        point.tag(name, value)
    for name, value in fields.items():
        if value is not None:
            point.field(name, value)
    bare = point.to_line_protocol()
    found: datetime | str = row["timestamp"]
    when = found if isinstance(found, datetime) else datetime.fromisoformat(found)
    microseconds = (when - _EPOCH) // timedelta(microseconds=1)
    return f"{bare} {microseconds}{_apart(row, bare):03}" if bare else ""


def _apart(row: Row, line: str) -> int:
    """Nanoseconds that keep two rows of one microsecond apart, for else the later would replace the first.

    The same for the same row whenever it is written, so that a repeat stays one point.
    """
    seq = row.get("seq")
    return (zlib.crc32(line.encode()) if seq is None else int(seq)) % COLLIDING_MAX
