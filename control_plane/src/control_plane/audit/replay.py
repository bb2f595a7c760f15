"""Compute a prediction again from its record: same bytes, same input, same output?"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from control_plane.audit.archive import AuditArchive
from control_plane.audit.recorded import Recorded, of_site
from shared.errors import Rejected
from shared.onnx_model import OnnxModel, recorded_block, runtime
from shared.schemas import Manifest
from shared.schemas.window import values_from_blob

Releases = Callable[[str], tuple[Manifest, bytes]]  # by SHA-256 of the model


class Answer(StrEnum):
    BIT_EXACT = "bit-exact"
    WITHIN_TOLERANCE = "within tolerance"
    DIFFERENT = "different"


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

    @property
    def answer(self) -> Answer:
        if self.bit_exact:
            return Answer.BIT_EXACT
        return Answer.WITHIN_TOLERANCE if self.within_tolerance else Answer.DIFFERENT


class Replayer:
    """Recomputes predictions; each model is fetched and loaded once."""

    def __init__(self, releases: Releases) -> None:
        self._releases = releases
        self._models: dict[str, OnnxModel] = {}

    def replay(self, recorded: Recorded) -> ReplayResult:
        """Recompute from the record, the stored window and the registry; Rejected names what is missing
        or is not what the record says."""
        name, window = f"prediction {recorded.prediction_id}", recorded.window
        if not recorded.raw:
            raise Rejected(f"{name}: the record holds no outputs of the model to compare")
        if window is None:
            raise Rejected(f"{name}: its window has not arrived")
        if hashlib.sha256(window).hexdigest() != recorded.window_sha256:
            raise Rejected(f"{name}: the stored window is not the one on the record")
        model = self._model(recorded)
        block = recorded_block(recorded.runtime)
        try:
            values = values_from_blob(window, len(model.manifest.feature_spec.tags))
        except ValueError as error:
            raise Rejected(f"{name}: the stored window does not fit the model: {error}") from error
        outputs = model.run(values[np.newaxis], block)
        found = {output: [float(x) for x in np.ravel(rows)] for output, rows in outputs.items()}
        return _compare(recorded, found, model.manifest, runtime(block))

    def _model(self, recorded: Recorded) -> OnnxModel:
        digest = recorded.model_sha256
        if digest not in self._models:
            manifest, model = self._releases(digest)
            if hashlib.sha256(model).hexdigest() != digest:
                raise Rejected(
                    f"prediction {recorded.prediction_id}: the model's bytes are not the ones on the record"
                )
            self._models[digest] = OnnxModel(manifest, model)
        return self._models[digest]


def replay(archive: AuditArchive, prediction_id: str, releases: Releases) -> ReplayResult:
    """Recompute one prediction of a site; Rejected names what is missing."""
    leaf = archive.prediction_leaf(prediction_id)
    if leaf is None:
        raise Rejected(f"no audit entry holds prediction {prediction_id}")
    return Replayer(releases).replay(of_site(leaf, archive.window(prediction_id)))


def _compare(recorded: Recorded, found: dict[str, list[float]], manifest: Manifest, how: str) -> ReplayResult:
    differences = {name: _difference(found.get(name), told) for name, told in recorded.raw.items()}
    return ReplayResult(
        recorded.prediction_id,
        recorded.model,
        bit_exact=found == recorded.raw,
        within_tolerance=all(d <= manifest.golden_tolerance for d in differences.values()),
        recorded_runtime=recorded.runtime,
        runtime=how,
        differences={name: d for name, d in differences.items() if d},
    )


def _difference(found: list[float] | None, told: list[float]) -> float:
    """The greatest of an output; infinite where the two cannot be compared."""
    if found is None or len(found) != len(told):
        return math.inf
    worst = max((abs(a - b) for a, b in zip(found, told, strict=True)), default=0.0)
    return worst if math.isfinite(worst) else math.inf
