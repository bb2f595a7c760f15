"""Which record travels on which Kafka topic."""

import re
from typing import Any

from pydantic import BaseModel, ValidationError

from shared.errors import Rejected
from shared.schemas.alert import Alert
from shared.schemas.audit import AuditEntry, SignedCheckpoint
from shared.schemas.base import Record
from shared.schemas.prediction import PredictionRecord
from shared.schemas.status import GapRecord, SiteStatus
from shared.schemas.telemetry import Telemetry

DLQ_SUFFIX = ".dlq"
WHOLE_BITS = 64  # with the sign: a column of the lake
# 2 ** 63 has 19 digits, but one with an exponent may have fewer: most bodies hold neither, and need no look.
_MAY_BE_LARGE = re.compile(rb"[0-9]{19}|[0-9.][eE]")

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
        record = _RECORDS[schema][1].model_validate_json(body)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise Rejected(f"{schema}: {problems}") from error
    if _MAY_BE_LARGE.search(body) and not _fits(record):
        raise Rejected(f"{schema}: a whole number in it does not fit {WHOLE_BITS} bits")
    return record


def _fits(value: Any) -> bool:
    """Whether every whole number in it fits a column: JSON knows no bound, and one would stop all others."""
    match value:
        case BaseModel():
            return all(_fits(part) for part in value.__dict__.values())
        case int():
            return value.bit_length() < WHOLE_BITS
        case dict():
            return all(_fits(part) for part in value.values())
        case list() | tuple():
            return all(_fits(part) for part in value)
        case _:
            return True
