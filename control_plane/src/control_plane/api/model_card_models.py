"""What a model's card says. RUL in cycles, scores without a unit, times UTC."""

from control_plane.release.published_approval import Approval
from shared.schemas import Frozen, UtcTime
from shared.schemas.calibration import Calibration


class Metric(Frozen):
    """A number and what it means."""

    name: str
    value: float
    meaning: str


class CardTag(Frozen):
    """An input, its unit, and what is usual of it in each regime; without a unit in older releases."""

    tag: str
    unit: str
    normal: list[float]


class RunningAt(Frozen):
    """A site that runs the release or has to do with it in a roll-out; `state` in the roll-out's words."""

    site_id: str
    state: str
    last_seen: UtcTime | None


class Validation(Frozen):
    """A validation's numbers; `importance` is each tag's mean effect on the RUL, in cycles."""

    data_sha256: str
    trained_on_it: bool
    metrics: list[Metric]
    importance: dict[str, float]


class ModelCard(Frozen):
    """A published release. `sha256` is that of its model's bytes, as checked against what was signed."""

    name: str
    version: int
    release: str
    component_type: str
    sha256: str
    created: UtcTime
    training_data_version: str
    metrics: list[Metric]
    calibration: Calibration | None
    horizon_cycles: float | None
    anomaly_threshold: float
    ood_threshold: float
    feature_spec_hash: str
    window_cycles: int
    features: int
    tags: list[CardTag]
    golden_windows: int
    golden_tolerance: float
    fallback: list[str]
    oldest_agent_version: str
    approval: Approval
    sites: list[RunningAt]
    intended_use: list[str]
    limits: list[str]
    validation: Validation | None


class ModelCards(Frozen):
    """Every published release; `problems` names those that could not be read, and why."""

    cards: list[ModelCard]
    problems: list[str]
