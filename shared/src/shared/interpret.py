"""What a model's outputs mean: one rule for the edge, the centre's inference and a replay. Pure.

Enters: outputs as they left onnxruntime, the release's manifest, the raw windows. Leaves: the fields
of a `Prediction` that follow from them. Never: a number that should have been withheld.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import Rejected
from shared.operation import rows_in_operation, standstills
from shared.schemas import Manifest, RulState, Window
from shared.schemas.calibration import HORIZON_FRACTION, Interval
from shared.sensors import look_at

OUT_OF_DISTRIBUTION = "out_of_distribution"

Floats = NDArray[np.float32]
Outputs = Mapping[str, Floats]
Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model says of `N` windows, by column; rows become the fields of records one by one.

    `interval` is in cycles and holds only where `troubles` and `standstills` have no word, `is_ood` and
    `beyond` are False: `each` sees to that. It is None where the release has no RUL.
    """

    manifest: Manifest
    raw: Outputs  # each `(N, k)`
    missing: list[dict[str, int]]
    troubles: list[str | None]
    standstills: list[str | None]
    is_anomaly: list[bool]
    is_ood: list[bool]
    beyond: list[bool]
    interval: Interval | None

    def each(self) -> list[Fields | Rejected]:
        """The fields of every window, or why there is nothing to say of it."""
        fine = np.isfinite(np.concatenate(list(self.raw.values()), axis=1)).all(axis=1).tolist()
        raw = {name: found.tolist() for name, found in self.raw.items()}
        ends = (
            [] if self.interval is None else list(zip(*(end.tolist() for end in self.interval), strict=True))
        )
        return [
            self._fields(n, {name: rows[n] for name, rows in raw.items()}, ends) if each else self._nothing(n)
            for n, each in enumerate(fine)
        ]

    def _fields(
        self, number: int, raw: dict[str, list[float]], ends: Sequence[tuple[float, float, float]]
    ) -> Fields:
        """Fields of the prediction for one window whose outputs are finite; `ends` by window."""
        state, because = self._state(number)
        low, median, high = ends[number] if state is RulState.OK else (None, None, None)
        return {
            "raw": raw,
            "missing": self.missing[number],
            "rul_state": state,
            "rul": median,
            "rul_low": low,
            "rul_high": high,
            "withheld_because": because,
            "anomaly_score": raw["anomaly_score"][0],
            "anomaly_threshold": self.manifest.anomaly_threshold,
            "is_anomaly": self.is_anomaly[number] and not self.standstills[number],
            "ood_score": raw["ood_score"][0],
            "ood_threshold": self.manifest.ood_threshold,
            "is_ood": self.is_ood[number],
        }

    def _state(self, number: int) -> tuple[RulState, str | None]:
        """A standstill before sensors, these before the model's own doubt, and that before its horizon."""
        if self.interval is None:
            return RulState.NOT_MODELLED, self.standstills[number]
        unlike = OUT_OF_DISTRIBUTION if self.is_ood[number] else None
        because = self.standstills[number] or self.troubles[number] or unlike
        if because:
            return RulState.WITHHELD, because
        return RulState.BEYOND_HORIZON if self.beyond[number] else RulState.OK, None

    def _nothing(self, number: int) -> Rejected:
        broken = [name for name, rows in self.raw.items() if not np.isfinite(rows[number]).all()]
        return Rejected(f"{self.manifest.folder} gave no finite number for {', '.join(broken)}")


def interpret(outputs: Outputs, manifest: Manifest, window: Window) -> Fields:
    """Fields of the prediction for one window; each output's first axis has length 1.

    Rejected when an output is not finite: there is nothing to say then.
    """
    [found] = interpret_many(outputs, manifest, window.values[np.newaxis]).each()
    if isinstance(found, Rejected):
        raise found
    return found


def interpret_many(outputs: Outputs, manifest: Manifest, values: Floats) -> Answers:
    """What the outputs for raw windows `(N, W, T)` mean; each output's first axis has length N."""
    raw = {name: outputs[name].reshape(len(values), -1) for name in manifest.outputs}
    spec = manifest.feature_spec
    sensors = look_at(rows_in_operation(values, manifest.operating, spec), manifest)
    interval = _interval(raw.get("rul"), manifest)
    far = np.inf if manifest.horizon_cycles is None else HORIZON_FRACTION * manifest.horizon_cycles
    return Answers(
        manifest=manifest,
        raw=raw,
        missing=sensors.missing_by_tag(spec.tags),
        troubles=sensors.troubles(spec.tags),
        standstills=standstills(values, manifest.operating, spec),
        is_anomaly=(raw["anomaly_score"][:, 0] > manifest.anomaly_threshold).tolist(),
        is_ood=(raw["ood_score"][:, 0] > manifest.ood_threshold).tolist(),
        beyond=[] if interval is None else (interval.median >= far).tolist(),
        interval=interval,
    )


def _interval(rul: Floats | None, manifest: Manifest) -> Interval | None:
    """Low ends, medians and high ends in cycles, widened as the release was calibrated."""
    if rul is None or manifest.horizon_cycles is None:
        return None
    if manifest.calibration is not None:
        return manifest.calibration.widen(*rul.T)
    low, median, high = rul.astype(np.float64).clip(0.0, manifest.horizon_cycles).T
    return Interval(np.minimum(low, median), median, np.maximum(median, high))
