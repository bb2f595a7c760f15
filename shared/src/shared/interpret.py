"""What a model's outputs mean: one rule for the edge, the centre's inference and a replay. Pure.

Enters: outputs as they left onnxruntime, the release's manifest, the raw windows. Leaves: the fields
of a `Prediction` that follow from them. Never: a number that should have been withheld.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import Rejected
from shared.schemas import Manifest, RulState, Window
from shared.schemas.calibration import HORIZON_FRACTION, Interval
from shared.sensors import Sensors, look_at

OUT_OF_DISTRIBUTION = "out_of_distribution"
NUMBERS = ("rul_low", "rul", "rul_high")  # an interval's, in order; None unless the state is OK

Floats = NDArray[np.float32]
Outputs = Mapping[str, Floats]
Fields = dict[str, Any]


def interpret(outputs: Outputs, manifest: Manifest, window: Window) -> Fields:
    """Fields of the prediction for one window; each output's first axis has length 1.

    Rejected when an output is not finite: there is nothing to say then.
    """
    [found] = interpret_many(outputs, manifest, window.values[np.newaxis])
    if isinstance(found, Rejected):
        raise found
    return found


def interpret_many(outputs: Outputs, manifest: Manifest, values: Floats) -> list[Fields | Rejected]:
    """Fields for each of `N` raw windows `(N, W, T)`, or why there is nothing to say of that one."""
    raw = {name: np.reshape(outputs[name], (len(values), -1)) for name in manifest.outputs}
    sensors = look_at(values, manifest)
    anomaly, ood = raw["anomaly_score"][:, 0], raw["ood_score"][:, 0]
    is_ood = ood > manifest.ood_threshold
    columns = {
        "raw": _records(raw),
        "missing": sensors.missing_by_tag(manifest.feature_spec.tags),
        "anomaly_score": anomaly.tolist(),
        "is_anomaly": (anomaly > manifest.anomaly_threshold).tolist(),
        "ood_score": ood.tolist(),
        "is_ood": is_ood.tolist(),
    } | _rul(raw.get("rul"), manifest, sensors, is_ood)
    limits = {"anomaly_threshold": manifest.anomaly_threshold, "ood_threshold": manifest.ood_threshold}
    found: list[Fields | Rejected] = [
        limits | dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
    ]
    for number in np.flatnonzero(
        ~np.all([np.isfinite(v).all(axis=1) for v in raw.values()], axis=0)
    ).tolist():
        found[number] = _nothing(raw, number, manifest)
    return found


def _records(raw: Outputs) -> list[dict[str, list[float]]]:
    """Every output by name, window by window."""
    columns = zip(*(found.tolist() for found in raw.values()), strict=True)
    return [dict(zip(raw, row, strict=True)) for row in columns]


def _nothing(raw: Outputs, number: int, manifest: Manifest) -> Rejected:
    broken = [name for name, rows in raw.items() if not np.isfinite(rows[number]).all()]
    return Rejected(f"{manifest.folder} gave no finite number for {', '.join(broken)}")


def _rul(
    rul: Floats | None, manifest: Manifest, sensors: Sensors, is_ood: NDArray[np.bool_]
) -> dict[str, list[Any]]:
    """State, reason and interval by window; None where there is none."""
    if rul is None or manifest.horizon_cycles is None:
        nothing = [None] * len(is_ood)
        states = [RulState.NOT_MODELLED] * len(is_ood)
        return {"rul_state": states, **dict.fromkeys(("withheld_because", *NUMBERS), nothing)}
    because = sensors.troubles(manifest.feature_spec.tags)
    for number in np.flatnonzero(is_ood).tolist():
        because[number] = because[number] or OUT_OF_DISTRIBUTION
    ends = _interval(rul, manifest, manifest.horizon_cycles)
    beyond = (ends.median >= HORIZON_FRACTION * manifest.horizon_cycles).tolist()
    states = [
        RulState.WITHHELD if reason else RulState.BEYOND_HORIZON if far else RulState.OK
        for reason, far in zip(because, beyond, strict=True)
    ]
    numbers = {name: end.tolist() for name, end in zip(NUMBERS, ends, strict=True)}
    for number, state in enumerate(states):
        if state is not RulState.OK:
            for each in numbers.values():
                each[number] = None
    return {"rul_state": states, "withheld_because": because, **numbers}


def _interval(rul: Floats, manifest: Manifest, horizon: float) -> Interval:
    """Low end, median and high end in cycles, widened as the release was calibrated."""
    low, median, high = rul.astype(np.float64).clip(0.0, horizon).T
    if manifest.calibration is not None:
        return manifest.calibration.widen(low, median, high)
    return Interval(np.minimum(low, median), median, np.maximum(median, high))
