"""Which record travels on which Kafka topic."""

from pydantic import ValidationError

from shared.errors import Rejected
from shared.schemas.alert import Alert
from shared.schemas.audit import AuditEntry, SignedCheckpoint
from shared.schemas.base import Record
from shared.schemas.prediction import PredictionRecord
from shared.schemas.status import GapRecord, SiteStatus
from shared.schemas.telemetry import Telemetry

DLQ_SUFFIX = ".dlq"

_RECORDS: dict[str, tuple[str, type[Record]]] = {
    Telemetry.SCHEMA: ("telemetry_raw", Telemetry),
    PredictionRecord.SCHEMA: ("predictions", PredictionRecord),
    Alert.SCHEMA: ("alerts", Alert),
    AuditEntry.SCHEMA: ("audit", AuditEntry),
    SignedCheckpoint.SCHEMA: ("audit", SignedCheckpoint),
    SiteStatus.SCHEMA: ("site_status", SiteStatus),
    GapRecord.SCHEMA: ("site_status", GapRecord),
}
TOPIC_BY_SCHEMA = {schema: topic for schema, (topic, _) in _RECORDS.items()}
# What overtakes a backlog: a site's alarms, that it lives, and what it had to give up.
URGENT_SCHEMAS = (Alert.SCHEMA, SiteStatus.SCHEMA, GapRecord.SCHEMA)
TOPICS = tuple(dict.fromkeys(TOPIC_BY_SCHEMA.values()))


def parse_record(schema: str, body: bytes) -> Record:
    """The record that `body` (JSON) holds; Rejected when the schema is unknown or does not fit."""
    if schema not in _RECORDS:
        raise Rejected(f"unknown schema {schema!r}; known: {', '.join(_RECORDS)}")
    try:
        return _RECORDS[schema][1].model_validate_json(body)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise Rejected(f"{schema}: {problems}") from error
