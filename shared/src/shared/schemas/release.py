"""What a release says of itself, and what a director says to one site."""

from typing import Any, Literal, Self

from pydantic import Field, FiniteFloat, field_validator, model_validator

from shared.features.spec import FeatureSpec
from shared.schemas.base import Frozen, Name, Sha256, UtcTime
from shared.schemas.calibration import Calibration

_OLDER_CALIBRATION: list[set[str]] = [{"coverage", "margin_cycles"}, set()]  # keys; the graph widens


class GoldenWindow(Frozen):
    """A raw window (`Window.blob` bytes) and what the model must answer for it."""

    window: bytes
    outputs: dict[str, list[float]]


class TagReference(Frozen):
    """What is usual of a tag, from normal cycles of training units, in `unit`.

    `normal` has one value for each operating regime of the feature spec (one without regimes), `spread`
    is the standard deviation around them. `stands_still`: a sound sensor may give one value for a whole
    window (a set point, a valve that is shut), so that this says nothing of the sensor.
    """

    unit: str
    normal: tuple[float, ...] = Field(min_length=1)
    spread: float = Field(ge=0)
    stands_still: bool


class Manifest(Frozen):
    """`manifest.json` of a release, beside `model.onnx` (weights inside).

    `sha256` is that of `model.onnx`. `outputs` names the graph's outputs: always `anomaly_score` and
    `ood_score`, and `rul` (low, median, high; cycles) where the type has a RUL model.
    `horizon_cycles` is the largest RUL that the model was trained to tell apart. `calibration` says how
    the interval is widened; without one it is given as it leaves the graph: older releases widen it there.
    `references` has every tag of the spec, or none in an older release: then no prediction says which tags
    contributed, and no sensor is found stuck.
    `operating` has the operating tags, each with its least value in operation, in its unit; with every one
    below, the component stands still. Its RUL was not learned from what was read at a standstill, and nothing
    is said of it. Empty in an older release, and for a type without such a tag.
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
    references: dict[str, TagReference] = Field(default_factory=dict)
    operating: dict[str, FiniteFloat] = Field(default_factory=dict)
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

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.feature_spec.component_type != self.component_type:
            kinds = f"{self.feature_spec.component_type} for a {self.component_type}"
            raise ValueError(f"features of a {kinds}: no window would fit both")
        if self.calibration and self.calibration.horizon_cycles != self.horizon_cycles:
            raise ValueError(
                f"calibrated for a horizon of {self.calibration.horizon_cycles:g} cycles, "
                f"not the release's {self.horizon_cycles}"
            )
        if self.references and set(self.references) != set(self.feature_spec.tags):
            found, wanted = sorted(self.references), sorted(self.feature_spec.tags)
            raise ValueError(f"references of {found}; the feature spec has {wanted}")
        if unknown := sorted(set(self.operating) - set(self.feature_spec.tags)):
            raise ValueError(f"operating names {unknown}; the tags are {sorted(self.feature_spec.tags)}")
        normalisation = self.feature_spec.normalisation
        regimes = len(normalisation.centres) if normalisation else 1
        wrong = [tag for tag, each in self.references.items() if len(each.normal) != regimes]
        if wrong:
            raise ValueError(f"references of {wrong} must have {regimes} normal values, one a regime")
        return self

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
