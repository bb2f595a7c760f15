"""What the centre's inference puts on its record, and the bytes that are hashed of it."""

import json
import math
from enum import StrEnum
from typing import Any, ClassVar

import rfc8785
from pydantic import Field

from shared.schemas import Frozen, UtcTime
from shared.schemas.base import Sha256

# Python and RFC 8785 (ECMAScript) write a number that is not whole alike between these two.
PLAIN_MIN, PLAIN_MAX = 1e-4, 1e16


class InferenceEvent(StrEnum):
    PREDICTION = "prediction"
    AUDIT_FAILURE = "audit_failure"


class Inference(Frozen):
    """One answer of the centre's inference (PRD 7.1).

    `predicted_rul` and its interval are in cycles, absent where the number was withheld; `raw` holds every
    output of the model as it left onnxruntime, so that a replay can compare bits. `window_sha256` is the
    digest of the raw input window, little-endian float32, which lies beside the entry.
    """

    prediction_id: str
    site_id: str
    reactor_id: str
    component: str
    component_type: str = ""
    model_name: str = ""
    model_version: str
    model_sha256: str = ""
    mode: str = "active"
    feature_spec_sha256: str = ""
    window_sha256: Sha256
    predicted_rul: float | None = None
    rul_low: float | None = None
    rul_high: float | None = None
    rul_state: str = ""
    raw: dict[str, list[float | None]] = Field(default_factory=dict)
    flags: list[str] = Field(default_factory=list)
    inference_time_ms: float | None = None
    runtime: str = ""


class InferenceEntry(Frozen):
    """One leaf. `index` counts from 0; `timestamp` is that of the prediction, `logged_at` when the service
    answered. `detail` says what was lost or late where `event` is an audit failure.
    """

    SCHEMA: ClassVar[str] = "inference-audit/1"
    index: int = Field(ge=0)
    timestamp: UtcTime
    logged_at: UtcTime
    event: InferenceEvent
    prediction: Inference | None = None
    detail: dict[str, str | int | float] = Field(default_factory=dict)

    def leaf(self) -> bytes:
        """The bytes that are hashed into the log."""
        return canonical(self.model_dump(mode="json", exclude_none=True))


def canonical(value: dict[str, Any]) -> bytes:
    """RFC 8785 JSON of JSON-like data, by the C encoder wherever that writes the same bytes."""
    try:
        plain = _plain(value)
    except ValueError:
        return rfc8785.dumps(value)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def _plain(value: Any) -> Any:
    """The same with whole floats as integers; ValueError where the two writers differ."""
    if isinstance(value, dict):
        if not all(key.isascii() for key in value):
            raise ValueError("RFC 8785 orders keys by UTF-16 units")
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return _plain_float(value)
    if isinstance(value, int) and abs(value) >= 2**53:
        raise ValueError("no exact integer in RFC 8785")
    return value


def _plain_float(value: float) -> float | int:
    if value.is_integer() and abs(value) < 2**53:
        return int(value)
    if not math.isfinite(value) or not PLAIN_MIN <= abs(value) < PLAIN_MAX:
        raise ValueError("Python and ECMAScript write it differently")
    return value
