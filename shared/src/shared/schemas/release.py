"""What a release says of itself, and what a director says to one site."""

from typing import Any, Literal

from pydantic import Field, field_validator

from shared.features.spec import FeatureSpec
from shared.schemas.base import Frozen, Name, Sha256, UtcTime
from shared.schemas.calibration import Calibration

_OLDER_CALIBRATION: list[set[str]] = [{"coverage", "margin_cycles"}, set()]  # keys; the graph widens


class GoldenWindow(Frozen):
    """A raw window (`Window.blob` bytes) and what the model must answer for it."""

    window: bytes
    outputs: dict[str, list[float]]


class Manifest(Frozen):
    """`manifest.json` of a release, beside `model.onnx` (weights inside).

    `sha256` is that of `model.onnx`. `outputs` names the graph's outputs: always `anomaly_score` and
    `ood_score`, and `rul` (low, median, high; cycles) where the type has a RUL model.
    `horizon_cycles` is the largest RUL that the model was trained to tell apart. `calibration` says how
    the interval is widened; without one it is given as it leaves the graph: older releases widen it there.
    """

    name: Name
    version: int = Field(ge=1)
    component_type: Name
    sha256: Sha256
    feature_spec: FeatureSpec
    feature_spec_hash: Sha256
    outputs: list[str]
    horizon_cycles: float | None = None
    anomaly_threshold: float
    ood_threshold: float
    training_data_version: str
    metrics: dict[str, float]
    calibration: Calibration | None = None
    golden: list[GoldenWindow] = Field(min_length=1)
    golden_tolerance: float = Field(gt=0)
    oldest_agent_version: str
    fallback: list[str] = Field(default_factory=list)
    created: UtcTime

    @field_validator("calibration", mode="before")
    @classmethod
    def _of_an_older_release(cls, value: Any) -> Any:
        """None for what older manifests note of the one margin inside their graph."""
        return None if isinstance(value, dict) and set(value) in _OLDER_CALIBRATION else value

    @property
    def folder(self) -> str:
        """Where the release's two targets lie in the image repository."""
        return f"{self.name}/{self.version}"


class Assignment(Frozen):
    """The director's word on one target (`custom` of its metadata): who runs it, and how."""

    component_type: Name
    mode: Literal["active", "shadow", "canary", "fallback"]
    rollout_id: str
    generation: int = Field(ge=1)
