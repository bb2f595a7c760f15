"""What a model's outputs mean: one rule for the edge, the centre's inference and a replay. Pure.

Enters: outputs as they left onnxruntime, the release's manifest, the raw window. Leaves: the fields
of a `Prediction` that follow from them. Never: a number that should have been withheld.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import Rejected
from shared.schemas import Manifest, RulState, Window
from shared.schemas.calibration import HORIZON_FRACTION

MISSING_FRACTION_MAX = 0.5  # of a window's filled rows, for any one tag: beyond it the sensor is invalid

Outputs = Mapping[str, NDArray[np.float32]]


def interpret(outputs: Outputs, manifest: Manifest, window: Window) -> dict[str, Any]:
    """Fields of the prediction for one window; each output's first axis has length 1.

    Rejected when an output is not finite: there is nothing to say then.
    """
    raw = {name: [float(x) for x in np.ravel(outputs[name])] for name in manifest.outputs}
    broken = [name for name, values in raw.items() if not np.isfinite(values).all()]
    if broken:
        raise Rejected(f"{manifest.folder} gave no finite number for {', '.join(broken)}")
    anomaly, ood = raw["anomaly_score"][0], raw["ood_score"][0]
    missing = missing_by_tag(window)
    fields: dict[str, Any] = {
        "raw": raw,
        "missing": missing,
        "anomaly_score": anomaly,
        "anomaly_threshold": manifest.anomaly_threshold,
        "is_anomaly": anomaly > manifest.anomaly_threshold,
        "ood_score": ood,
        "ood_threshold": manifest.ood_threshold,
        "is_ood": ood > manifest.ood_threshold,
    }
    state = _state(raw, manifest, window, missing, is_ood=fields["is_ood"])
    fields["rul_state"] = state
    if state is RulState.OK:
        low, median, high = _interval(raw["rul"], manifest)
        fields |= {"rul": median, "rul_low": low, "rul_high": high}
    return fields


def _interval(rul: list[float], manifest: Manifest) -> tuple[float, float, float]:
    """Low end, median and high end in cycles, widened as the release was calibrated."""
    low, median, high = (min(max(0.0, x), manifest.horizon_cycles or np.inf) for x in rul)
    if manifest.calibration is not None:
        low, median, high = map(float, manifest.calibration.widen(low, median, high))
    return min(low, median), median, max(high, median)


def missing_by_tag(window: Window) -> dict[str, int]:
    """Values with bad quality in the window by tag, tags without any left out; padding does not count."""
    filled = window.values[~np.isnan(window.values).all(axis=1)]
    counts = np.isnan(filled).sum(axis=0)
    return {tag: int(n) for tag, n in zip(window.tags, counts, strict=True) if n}


def _state(
    raw: Mapping[str, list[float]],
    manifest: Manifest,
    window: Window,
    missing: Mapping[str, int],
    *,
    is_ood: bool,
) -> RulState:
    if "rul" not in raw or manifest.horizon_cycles is None:
        return RulState.NOT_MODELLED
    filled = int((~np.isnan(window.values).all(axis=1)).sum())
    if is_ood or max(missing.values(), default=0) > MISSING_FRACTION_MAX * filled:
        return RulState.WITHHELD
    if raw["rul"][1] >= HORIZON_FRACTION * manifest.horizon_cycles:
        return RulState.BEYOND_HORIZON
    return RulState.OK
