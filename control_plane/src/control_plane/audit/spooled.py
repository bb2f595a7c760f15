"""A spooled record as an entry: what `AuditLogger.log_prediction` was given, made fit for the log.

The leaf is written here without an `InferenceEntry` in between, which would cost the server more than all
else that becomes of a call's record. It has that class's bytes: whoever verifies the log reads each leaf
with the class, writes it again and compares.
"""

import hashlib
import json
import math
from datetime import UTC, datetime
from typing import Any

import msgspec

from control_plane.audit.inference_entry import InferenceEvent
from control_plane.audit.inference_log import Written
from shared.canonical import canonical_json

TEXT_CHARS_MAX = 200  # of a name; more is nobody's name
FLAGS_MAX = 20
OUTPUTS_MAX = 1000  # numbers of all outputs together: an entry stays below the 65,535 bytes of C2SP

# Fields of a prediction in the order in which the logger writes them, after its id and two times.
TEXTS = (
    "site_id", "reactor_id", "component", "component_type", "model_name", "model_version", "model_sha256",
    "mode", "feature_spec_sha256",
)  # fmt: skip


def decode(index: int, record: bytes) -> Written:
    """The leaf and its window; ValueError or TypeError when the record is none."""
    head, _, window = record.partition(b"\n")
    prediction_id, logged, when, *rest = _read(head)
    texts, (rul, low, high, state, raw, flags, took_ms, runtime) = rest[: len(TEXTS)], rest[len(TEXTS) :]
    if sum(map(len, raw.values())) > OUTPUTS_MAX:
        raise ValueError(f"more than {OUTPUTS_MAX} numbers of output")
    logged_at = datetime.fromtimestamp(logged, UTC)
    timestamp, detail = _time(when, logged_at)
    numbers = {"predicted_rul": rul, "rul_low": low, "rul_high": high, "inference_time_ms": took_ms}
    known_as = _text(prediction_id)
    prediction = {
        "prediction_id": known_as,
        **{name: _text(found) for name, found in zip(TEXTS, texts, strict=True)},
        "window_sha256": hashlib.sha256(window).hexdigest(),
        "rul_state": _text(state),
        "raw": {_text(name): [_number(each) for each in found] for name, found in raw.items()},
        "flags": [_text(each) for each in flags[:FLAGS_MAX]],
        "runtime": _text(runtime),
        **{name: found for name, each in numbers.items() if (found := _number(each)) is not None},
    }
    entry = {
        "index": index,
        "timestamp": _z(timestamp),
        "logged_at": _z(logged_at),
        "event": InferenceEvent.PREDICTION.value,
        "prediction": prediction,
        "detail": detail,
    }
    return Written(canonical_json(entry), known_as, window)


def _read(head: bytes) -> list[Any]:
    try:
        return list(msgspec.json.decode(head))
    except msgspec.DecodeError:  # half a pair of surrogates, written by the standard encoder
        return list(json.loads(head))


def _time(given: str, logged_at: datetime) -> tuple[datetime, dict[str, str]]:
    """The time of the prediction; that of the call where the given one is none, which is then noted."""
    try:
        found = datetime.fromisoformat(given)
        return (found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)), {}
    except (ValueError, OverflowError):
        return logged_at, {"timestamp_given": _text(given)}


def _z(time: datetime) -> str:
    """As pydantic writes a time in UTC."""
    return time.isoformat().replace("+00:00", "Z")


def _text(given: Any) -> str:
    if type(given) is str and given.isascii() and len(given) <= TEXT_CHARS_MAX:  # as nearly all are
        return given
    return str(given)[:TEXT_CHARS_MAX].encode(errors="replace").decode()


def _number(given: float | None) -> float | None:
    return None if given is None or not math.isfinite(given) else float(given)
