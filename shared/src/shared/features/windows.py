"""Raw windows to features. Elementwise, so that one window and a batch give identical bits."""

import numpy as np
from numpy.typing import NDArray

from shared.features.spec import FeatureSpec

FEATURES_PER_TAG = 3  # value, change since the row before, present
Floats = NDArray[np.float32]


def window_features(values: Floats, spec: FeatureSpec) -> Floats:
    """Features of raw windows.

    `values`: float32 `(..., W, T)`, NaN where a value had bad quality, tags in the spec's order.
    Returns float32 `(..., W, 3 T)`, finite: the T values (a missing one repeats the last good one
    before it in the window; 0 before the first), the T changes to the row before (0 where either is
    missing), and the T marks 1 (present) or 0 (missing). ValueError when the shape is not the spec's.
    """
    if values.shape[-2:] != (spec.window_cycles, len(spec.tags)):
        expected = (spec.window_cycles, len(spec.tags))
        raise ValueError(
            f"found windows of {values.shape[-2:]} cycles x tags; {spec.component_type} has {expected}"
        )
    present = np.isfinite(values)
    filled = _forward_fill(np.where(present, values, np.float32(0)), present)
    change = np.zeros_like(filled)
    change[..., 1:, :] = filled[..., 1:, :] - filled[..., :-1, :]
    change[..., 1:, :] *= present[..., 1:, :] & present[..., :-1, :]
    return np.concatenate([filled, change, present.astype(np.float32)], axis=-1)


def _forward_fill(values: Floats, present: NDArray[np.bool_]) -> Floats:
    """Repeat the last present value along the cycles; causal, inside the window."""
    rows = np.arange(values.shape[-2]).reshape(-1, 1)
    last = np.maximum.accumulate(np.where(present, rows, -1), axis=-2)
    filled = np.take_along_axis(values, np.maximum(last, 0), axis=-2)
    return np.where(last >= 0, filled, np.float32(0)).astype(np.float32)
