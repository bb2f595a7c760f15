"""What a model said about one window."""

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field

from shared.schemas.base import ComponentRecord, Frozen, Name, Sha256


class RulState(StrEnum):
    """How far the number may be trusted; only OK carries one."""

    OK = "ok"
    BEYOND_HORIZON = "beyond_horizon"  # healthy further than the model can see: no false precision
    WITHHELD = "withheld"  # input unlike the training data, or sensors invalid
    NOT_MODELLED = "not_modelled"  # this component type has no RUL model


class ModelRef(Frozen):
    """The exact model: its name and version, and the SHA-256 of its bytes."""

    name: Name
    version: int = Field(ge=1)
    sha256: Sha256
    mode: Literal["active", "shadow"] = "active"


class Prediction(ComponentRecord):
    """One scored window. `rul*` are in cycles; scores are dimensionless distances.

    `raw` holds every output of the model as it left onnxruntime (float32 values), so that a replay
    can compare bits even where the number is withheld. `missing` counts values of the window that
    had bad quality, by tag. `window_sha256` is the digest of the raw input window.
    """

    SCHEMA: ClassVar[str] = "prediction/1"
    prediction_id: str
    cycle: int | None = None
    model: ModelRef
    feature_spec_hash: Sha256
    window_sha256: Sha256
    missing: dict[str, int] = Field(default_factory=dict)
    rul_state: RulState
    rul: float | None = None
    rul_low: float | None = None
    rul_high: float | None = None
    anomaly_score: float
    anomaly_threshold: float
    is_anomaly: bool
    ood_score: float
    ood_threshold: float
    is_ood: bool
    raw: dict[str, list[float]]
    inference_time_ms: float = Field(ge=0)
    runtime: str


class PredictionRecord(Prediction):
    """A prediction as it leaves the site, with its input window beside it (see `Window.blob`)."""

    window: bytes
