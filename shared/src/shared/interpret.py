"""What a model's outputs mean: one rule for the edge, the centre's inference and a replay. Pure.

Enters: outputs as they left onnxruntime, the release's manifest, the raw windows. Leaves: the fields
of a `Prediction` that follow from them. Never: a number that should have been withheld.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import Rejected
from shared.schemas import Manifest, RulState, Window
from shared.schemas.calibration import HORIZON_FRACTION, Interval
from shared.sensors import Sensors, look_at

OUT_OF_DISTRIBUTION = "out_of_distribution"

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
    is_ood = raw["ood_score"][:, 0] > manifest.ood_threshold
    columns = {
        "missing": sensors.missing_by_tag(manifest.feature_spec.tags),
        "anomaly_score": raw["anomaly_score"][:, 0].tolist(),
        "is_anomaly": (raw["anomaly_score"][:, 0] > manifest.anomaly_threshold).tolist(),
        "ood_score": raw["ood_score"][:, 0].tolist(),
        "is_ood": is_ood.tolist(),
    } | _rul(raw.get("rul"), manifest, sensors, is_ood)
    limits = {"anomaly_threshold": manifest.anomaly_threshold, "ood_threshold": manifest.ood_threshold}
    return [
        _broken(outs, manifest)
        or {"raw": outs}
        | limits
        | {name: value for name, value in zip(columns, row, strict=True) if value is not None}
        for outs, *row in zip(_records(raw), *columns.values(), strict=True)
    ]


def _records(raw: Outputs) -> list[dict[str, list[float]]]:
    """Every output by name, window by window."""
    columns = zip(*(found.tolist() for found in raw.values()), strict=True)
    return [dict(zip(raw, row, strict=True)) for row in columns]


def _broken(raw: Mapping[str, list[float]], manifest: Manifest) -> Rejected | None:
    broken = [name for name, row in raw.items() if not all(map(isfinite, row))]
    return Rejected(f"{manifest.folder} gave no finite number for {', '.join(broken)}") if broken else None


def _rul(
    rul: Floats | None, manifest: Manifest, sensors: Sensors, is_ood: NDArray[np.bool_]
) -> dict[str, list[Any]]:
    """State, reason and interval by window; None where there is none."""
    count = len(is_ood)
    if rul is None or manifest.horizon_cycles is None:
        return {"rul_state": [RulState.NOT_MODELLED] * count}
    ends = _interval(rul, manifest, manifest.horizon_cycles)
    troubles = sensors.troubles(manifest.feature_spec.tags)
    because = [
        trouble or (OUT_OF_DISTRIBUTION if unlike else None)
        for trouble, unlike in zip(troubles, is_ood.tolist(), strict=True)
    ]
    beyond = (ends.median >= HORIZON_FRACTION * manifest.horizon_cycles).tolist()
    states = [
        RulState.WITHHELD if reason else RulState.BEYOND_HORIZON if far else RulState.OK
        for reason, far in zip(because, beyond, strict=True)
    ]
    numbers = {
        name: [
            number if state is RulState.OK else None
            for number, state in zip(end.tolist(), states, strict=True)
        ]
        for name, end in zip(("rul_low", "rul", "rul_high"), ends, strict=True)
    }
    return {"rul_state": states, "withheld_because": because, **numbers}


def _interval(rul: Floats, manifest: Manifest, horizon: float) -> Interval:
    """Low end, median and high end in cycles, widened as the release was calibrated."""
    low, median, high = rul.astype(np.float64).clip(0.0, horizon).T
    if manifest.calibration is not None:
        return manifest.calibration.widen(low, median, high)
    return Interval(np.minimum(low, median), median, np.maximum(median, high))
