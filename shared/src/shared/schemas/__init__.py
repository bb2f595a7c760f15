"""Records that cross a room or a wire: frozen, closed to unknown fields, versioned.

Enters: JSON bytes or keyword arguments. Leaves: validated records, or pydantic's ValidationError.
Never: I/O, clocks, defaults that hide a missing value.
"""

from shared.schemas.alert import Alert, AlertKind, Severity
from shared.schemas.audit import AuditEntry, AuditEvent, SignedCheckpoint
from shared.schemas.base import ComponentId, Frozen, Outgoing, Record, UtcTime, utc_now
from shared.schemas.calibration import Calibration, CalibrationBin
from shared.schemas.prediction import ModelRef, Prediction, PredictionRecord, RulState
from shared.schemas.release import Assignment, GoldenWindow, Manifest
from shared.schemas.status import GapRecord, SiteStatus
from shared.schemas.telemetry import Quality, Telemetry
from shared.schemas.topics import DLQ_SUFFIX, TOPIC_BY_SCHEMA, TOPICS, URGENT_SCHEMAS, parse_record
from shared.schemas.window import Window

__all__ = [
    "DLQ_SUFFIX",
    "TOPICS",
    "TOPIC_BY_SCHEMA",
    "URGENT_SCHEMAS",
    "Alert",
    "AlertKind",
    "Assignment",
    "AuditEntry",
    "AuditEvent",
    "Calibration",
    "CalibrationBin",
    "ComponentId",
    "Frozen",
    "GapRecord",
    "GoldenWindow",
    "Manifest",
    "ModelRef",
    "Outgoing",
    "Prediction",
    "PredictionRecord",
    "Quality",
    "Record",
    "RulState",
    "Severity",
    "SignedCheckpoint",
    "SiteStatus",
    "Telemetry",
    "UtcTime",
    "Window",
    "parse_record",
    "utc_now",
]
