"""What the released bytes answer. Without torch: judging a model needs nothing that made it."""

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def run_onnx(model: bytes, features: Floats, names: Sequence[str]) -> dict[str, Floats]:
    """Outputs by name for features `(N, W, F)`."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(list(names), {"features": features}), strict=True))
