"""What a model said about one window."""

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field

from shared.schemas.base import ComponentRecord, Frozen, Name, Sha256

CONTRIBUTIONS_MAX = 3  # more than three reasons are none


class RulState(StrEnum):
    """How far the number may be trusted; only OK carries one."""

    OK = "ok"
    BEYOND_HORIZON = "beyond_horizon"  # healthy further than the model can see: no false precision
    WITHHELD = "withheld"  # it stands still, sensors invalid, or input unlike the training data
    NOT_MODELLED = "not_modelled"  # this component type has no RUL model


class ModelRef(Frozen):
    """The exact model: its name and version, and the SHA-256 of its bytes."""

    name: Name
    version: int = Field(ge=1)
    sha256: Sha256
    mode: Literal["active", "shadow"] = "active"


class Contribution(Frozen):
    """What one tag has to do with a number; see `shared.contributions`.

    `effect` on the RUL is in cycles, below 0 where the tag shortens it; on the anomaly score it is the
    tag's share of the squared score, 1 being all of it. `value` is the newest good one of the window,
    `normal` what is usual in its operating regime, both in `unit`.
    """

    tag: str
    of: Literal["rul", "anomaly"]
    effect: float
    value: float | None = None
    normal: float
    unit: str


class Prediction(ComponentRecord):
    """One scored window. `rul*` are in cycles; scores are dimensionless distances.

    `raw` holds every output of the model as it left onnxruntime (float32 values), so that a replay
    can compare bits even where the number is withheld. `missing` counts values of the window that
    had bad quality, by tag. `window_sha256` is the digest of the raw input window.

    `withheld_because` is there in state `withheld`: `not_running` (the component stands still), `starting_up`
    (and ran in too little of the window), `no_reading`, `sensor_invalid:<tag>` (no number for most of the
    window), `sensor_stuck:<tag>` (one value all along) or `out_of_distribution`. The first two are there in
    state `not_modelled` too; with them `is_anomaly` is False whatever the score, and no alert changes by the
    prediction.
    `contributions`, greatest first, are of the RUL where it is a number, else of an abnormal score; empty
    where neither matters or the release has no references. Both came after the other fields: records
    without them are still read.
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
    withheld_because: str | None = None
    anomaly_score: float
    anomaly_threshold: float
    is_anomaly: bool
    ood_score: float
    ood_threshold: float
    is_ood: bool
    raw: dict[str, list[float]]
    contributions: list[Contribution] = Field(default_factory=list, max_length=CONTRIBUTIONS_MAX)
    inference_time_ms: float = Field(ge=0)
    runtime: str


class PredictionRecord(Prediction):
    """A prediction as it leaves the site, with its input window beside it (see `Window.blob`)."""

    window: bytes
