"""A spooled record as an entry: what `AuditLogger.log_prediction` was given, made fit for the log."""

import hashlib
import json
import math
from datetime import UTC, datetime
from typing import Any

from control_plane.audit.inference_entry import Inference, InferenceEntry, InferenceEvent

TEXT_CHARS_MAX = 200  # of a name; more is nobody's name
FLAGS_MAX = 20
OUTPUTS_MAX = 1000  # numbers of all outputs together: an entry stays below the 65,535 bytes of C2SP

# Fields of a prediction in the order in which the logger writes them, after its id and two times.
TEXTS = (
    "site_id", "reactor_id", "component", "component_type", "model_name", "model_version", "model_sha256",
    "mode", "feature_spec_sha256",
)  # fmt: skip


def decode(index: int, record: bytes) -> tuple[InferenceEntry, bytes]:
    """The entry and its window; ValueError or TypeError when the record is none."""
    head, _, window = record.partition(b"\n")
    prediction_id, logged, when, *rest = json.loads(head)
    texts, (rul, low, high, state, raw, flags, took_ms, runtime) = rest[: len(TEXTS)], rest[len(TEXTS) :]
    if sum(map(len, raw.values())) > OUTPUTS_MAX:
        raise ValueError(f"more than {OUTPUTS_MAX} numbers of output")
    logged_at = datetime.fromtimestamp(logged, UTC)
    timestamp, detail = _time(when, logged_at)
    prediction = Inference(
        prediction_id=prediction_id,
        **{name: _text(found) for name, found in zip(TEXTS, texts, strict=True)},
        window_sha256=hashlib.sha256(window).hexdigest(),
        predicted_rul=_number(rul),
        rul_low=_number(low),
        rul_high=_number(high),
        rul_state=_text(state),
        raw={_text(name): [_number(each) for each in found] for name, found in raw.items()},
        flags=[_text(each) for each in flags[:FLAGS_MAX]],
        inference_time_ms=_number(took_ms),
        runtime=_text(runtime),
    )
    entry = InferenceEntry(
        index=index,
        timestamp=timestamp,
        logged_at=logged_at,
        event=InferenceEvent.PREDICTION,
        prediction=prediction,
        detail=detail,
    )
    return entry, window


def _time(given: str, logged_at: datetime) -> tuple[datetime, dict[str, str]]:
    """The time of the prediction; that of the call where the given one is none, which is then noted."""
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        return logged_at, {"timestamp_given": _text(given)}
    return (found if found.tzinfo else found.replace(tzinfo=UTC)), {}


def _text(given: Any) -> str:
    return str(given)[:TEXT_CHARS_MAX].encode(errors="replace").decode()


def _number(given: float | None) -> float | None:
    return None if given is None or not math.isfinite(given) else float(given)
