"""Compute a prediction again from its record: same bytes, same input, same output?"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from control_plane.audit.archive import AuditArchive
from shared.errors import Rejected
from shared.onnx_model import OnnxModel, recorded_block, runtime
from shared.schemas import AuditEntry, Manifest, Prediction
from shared.schemas.window import values_from_blob

Releases = Callable[[str], tuple[Manifest, bytes]]  # by SHA-256 of the model


@dataclass
class ReplayResult:
    """`bit_exact`: every output equal; else `differences` by output, against the release's tolerance."""

    prediction_id: str
    model: str
    bit_exact: bool
    within_tolerance: bool
    recorded_runtime: str
    runtime: str
    differences: dict[str, float] = field(default_factory=dict)


def replay(archive: AuditArchive, prediction_id: str, releases: Releases) -> ReplayResult:
    """Recompute from the audit leaf, the stored window and the registry; Rejected names what is missing."""
    prediction = _recorded(archive, prediction_id)
    window = archive.window(prediction_id)
    if window is None:
        raise Rejected(f"prediction {prediction_id}: its window has not arrived")
    if hashlib.sha256(window).hexdigest() != prediction.window_sha256:
        raise Rejected(f"prediction {prediction_id}: the stored window is not the one on the record")
    manifest, model = releases(prediction.model.sha256)
    if hashlib.sha256(model).hexdigest() != prediction.model.sha256:
        raise Rejected(f"prediction {prediction_id}: the model's bytes are not the ones on the record")
    return _compare(
        prediction, _recompute(manifest, model, window, recorded_block(prediction.runtime)), manifest
    )


def _recorded(archive: AuditArchive, prediction_id: str) -> Prediction:
    leaf = archive.prediction_leaf(prediction_id)
    if leaf is None:
        raise Rejected(f"no audit entry holds prediction {prediction_id}")
    prediction = AuditEntry.model_validate_json(leaf).prediction
    if prediction is None:
        raise Rejected(f"the audit entry of {prediction_id} holds no prediction")
    return prediction


def _recompute(manifest: Manifest, model: bytes, window: bytes, block: int) -> dict[str, list[float]]:
    values = values_from_blob(window, len(manifest.feature_spec.tags))
    outputs = OnnxModel(manifest, model).run(values[np.newaxis], block)
    return {name: [float(x) for x in np.ravel(found)] for name, found in outputs.items()}


def _compare(prediction: Prediction, found: dict[str, list[float]], manifest: Manifest) -> ReplayResult:
    differences = {
        name: max((abs(a - b) for a, b in zip(found[name], recorded, strict=True)), default=0.0)
        for name, recorded in prediction.raw.items()
    }
    return ReplayResult(
        prediction.prediction_id,
        f"{prediction.model.name}/{prediction.model.version}",
        bit_exact=found == prediction.raw,
        within_tolerance=all(d <= manifest.golden_tolerance for d in differences.values()),
        recorded_runtime=prediction.runtime,
        runtime=runtime(recorded_block(prediction.runtime)),
        differences={name: d for name, d in differences.items() if d},
    )
