"""Records are closed, and their bodies survive the journey bit for bit."""

import json
from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.envelope import headers, parse_headers
from shared.errors import Rejected
from shared.schemas import (
    Alert,
    AlertKind,
    AuditEntry,
    AuditEvent,
    GapRecord,
    PredictionRecord,
    Quality,
    Severity,
    SignedCheckpoint,
    SiteStatus,
    Telemetry,
    parse_record,
)

RECORDS = (Telemetry, PredictionRecord, Alert, AuditEntry, SignedCheckpoint, SiteStatus, GapRecord)
NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
ORIGIN = {"timestamp": NOW, "site_id": "TX01", "reactor_id": "R1", "component": "coolant_pump"}


@given(st.dictionaries(st.text("abc_", min_size=1), st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_survive_json_bit_for_bit(metrics):
    """Every finite float64 comes out of the JSON body as it went in."""
    sent = Telemetry(**ORIGIN, cycle=1, metrics=metrics)
    assert parse_record(sent.SCHEMA, sent.outgoing().body) == sent


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused(value):
    """NaN and infinity never leave a site as numbers."""
    with pytest.raises(ValidationError):
        Telemetry(**ORIGIN, cycle=1, metrics={"flow_rate": value})


def test_a_bad_tag_carries_no_number():
    """A tag is either good with a number or bad with a reason (invariant 3)."""
    with pytest.raises(ValidationError, match="bad quality carries no number"):
        Telemetry(**ORIGIN, cycle=1, metrics={"a": 1.0}, quality={"a": Quality.TIMEOUT})


def test_an_unknown_field_or_schema_is_rejected():
    """What is not in the contract is refused with its name."""
    body = json.loads(Telemetry(**ORIGIN, cycle=1, metrics={}).outgoing().body) | {"surprise": 1}
    with pytest.raises(Rejected, match="surprise"):
        parse_record("telemetry/1", json.dumps(body).encode())
    with pytest.raises(Rejected, match="unknown schema 'telemetry/9'"):
        parse_record("telemetry/9", b"{}")


@given(st.binary(max_size=200))
def test_garbage_is_rejected_and_never_raises_anything_else(body):
    """Whatever arrives, the parser answers Rejected or a record."""
    for schema in ("telemetry/1", "prediction/1", "audit/1"):
        with pytest.raises(Rejected):
            parse_record(schema, body)


def test_a_leaf_is_the_same_bytes_after_the_journey():
    """An audit entry that was sent and parsed hashes to what the site hashed."""
    entry = AuditEntry(
        timestamp=NOW, site_id="TX01", index=3, event=AuditEvent.ALERT, clock="unknown", subject="x",
        detail={"value": 1.0, "small": 1e-9, "n": 7, "yes": True},
    )  # fmt: skip
    again = parse_record("audit/1", entry.outgoing().body)
    assert isinstance(again, AuditEntry)
    assert again.leaf() == entry.leaf() == entry.outgoing().body


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.SCHEMA)
def test_a_field_without_a_value_may_be_left_out(record):
    """A body names no field that is None, so each that may be None must be None when it is not named."""
    optional = {name: f for name, f in record.model_fields.items() if type(None) in get_args(f.annotation)}
    assert [name for name, field in optional.items() if field.is_required()] == []


def test_a_sensor_alert_without_a_number_survives_the_journey():
    """A sensor that gives no number has neither value, threshold nor, perhaps, a cycle."""
    sent = Alert(
        **ORIGIN, alert_id="a", kind=AlertKind.SENSOR, severity=Severity.WARNING, state="raised",
        subject="flow_rate", message="flow_rate gives no number: timeout",
    )  # fmt: skip
    assert parse_record(sent.SCHEMA, sent.outgoing().body) == sent


def test_headers_name_the_row_for_ever():
    """The envelope of a message is the one that the outbox wrote."""
    record = Telemetry(**ORIGIN, cycle=1, metrics={}).outgoing()
    envelope = parse_headers(headers(record, "store", 7, "hash"))
    assert envelope == ("telemetry/1", "TX01", "store", 7, "hash")


@pytest.mark.parametrize(
    ("change", "said"), [({"seq": "x"}, "header seq: found 'x'"), ({"seq": None}, "missing headers: seq")]
)
def test_a_broken_header_is_named(change, said):
    """A message without a usable row number is rejected, and the header is named."""
    record = Telemetry(**ORIGIN, cycle=1, metrics={}).outgoing()
    with pytest.raises(Rejected, match=said):
        parse_headers(headers(record, "store", 7, "hash") | change)
