"""What the inference server answered, as the lake's row has it."""

import math
import uuid

from control_plane.serving.client import Answer
from shared.schemas import Contribution, ModelRef, PredictionRecord, RulState, Window


def prediction_of(window: Window, answer: Answer) -> PredictionRecord:
    """The lake's row. The model's raw outputs are on the inference log, under the same prediction id."""
    name, _, version = answer.model_version.rpartition("/")
    return PredictionRecord(
        **window.component._asdict(),
        timestamp=window.timestamp,
        prediction_id=answer.prediction_id or str(uuid.uuid4()),
        cycle=window.cycle,
        model=ModelRef(name=name, version=int(version), sha256=answer.model_sha256),
        feature_spec_hash=answer.feature_spec_sha256,
        window_sha256=window.sha256(),
        rul_state=RulState(answer.rul_state),
        rul=_number(answer.predicted_rul),
        rul_low=_number(answer.rul_low),
        rul_high=_number(answer.rul_high),
        withheld_because=answer.withheld_because or None,
        anomaly_score=answer.anomaly_score,
        anomaly_threshold=answer.anomaly_threshold,
        is_anomaly=answer.is_anomaly,
        ood_score=answer.ood_score,
        ood_threshold=answer.ood_threshold,
        is_ood=answer.ood_score > answer.ood_threshold,
        raw={},
        contributions=[_contribution(each) for each in answer.contributions],
        inference_time_ms=answer.inference_time_ms,
        runtime=answer.runtime,
        window=window.blob(),
    )


def _contribution(said: object) -> Contribution:
    fields = {name: getattr(said, name) for name in Contribution.model_fields}
    return Contribution(**(fields | {"value": _number(fields["value"])}))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
