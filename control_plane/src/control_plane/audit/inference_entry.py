"""What the centre's inference puts on its record, and the bytes that are hashed of it."""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from shared.canonical import canonical_json
from shared.schemas import Frozen, UtcTime
from shared.schemas.base import Sha256


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
        return canonical_json(self.model_dump(mode="json", exclude_none=True))
