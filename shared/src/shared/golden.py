"""Whether a model answers here as where it was validated: one check for a site and for approvers."""

import numpy as np

from shared.errors import Rejected, Untrusted
from shared.onnx_model import OnnxModel
from shared.schemas import GoldenWindow
from shared.schemas.window import values_from_blob


def check_golden(model: OnnxModel) -> None:
    """Recompute every golden window on this machine; Untrusted names the window and what differs."""
    manifest = model.manifest
    for number, golden in enumerate(manifest.golden):
        try:
            differences = _differences(model, golden)
        except (Rejected, ValueError) as error:
            text = f"{manifest.folder}: window {number} cannot be scored: {error}"
            raise Untrusted("golden window", text) from error
        for name, difference in differences.items():
            if not difference <= manifest.golden_tolerance:
                raise Untrusted(
                    "golden window",
                    f"{manifest.folder}: window {number}, {name} is off by {difference:.3g}; "
                    f"allowed {manifest.golden_tolerance:.3g}",
                )


def _differences(model: OnnxModel, golden: GoldenWindow) -> dict[str, float]:
    """By output, how far the answer here is from the golden one; ValueError unless all are given."""
    outputs = model.manifest.outputs
    if set(golden.outputs) != set(outputs):
        raise ValueError(f"expects {sorted(golden.outputs)} of {sorted(outputs)}")
    values = values_from_blob(golden.window, len(model.manifest.feature_spec.tags))
    found = model.run(values[np.newaxis])
    for name, expected in golden.outputs.items():
        if len(expected) != found[name].size:
            raise ValueError(f"expects {len(expected)} numbers of {name}, found {found[name].size}")
    return {
        name: float(np.max(np.abs(np.ravel(found[name]) - np.asarray(expected, np.float32))))
        for name, expected in golden.outputs.items()
    }
