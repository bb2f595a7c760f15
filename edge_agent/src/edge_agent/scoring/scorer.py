"""A verified model, ready to score."""

import hashlib
import platform
import time
import uuid

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from shared.errors import Rejected, Untrusted
from shared.features import window_features
from shared.interpret import interpret
from shared.schemas import Manifest, ModelRef, PredictionRecord, Window
from shared.schemas.window import values_from_blob

INPUT = "features"
RUNTIME = f"onnxruntime {ort.__version__}; CPUExecutionProvider; {platform.machine()}"


class Scorer:
    """Scores windows with one release. Made by `load`, which checks it first."""

    def __init__(self, manifest: Manifest, session: ort.InferenceSession) -> None:
        self.manifest = manifest
        self._session = session
        self.model_ref = ModelRef(name=manifest.name, version=manifest.version, sha256=manifest.sha256)

    @classmethod
    def load(cls, manifest: Manifest, model: bytes) -> "Scorer":
        """Check bytes, feature code and golden windows on this machine; Untrusted names what failed."""
        found = hashlib.sha256(model).hexdigest()
        if found != manifest.sha256:
            raise Untrusted(
                "sha256", f"model.onnx is {found[:12]}…, its manifest says {manifest.sha256[:12]}…"
            )
        if manifest.feature_spec.hash() != manifest.feature_spec_hash:
            ours = manifest.feature_spec.hash()[:12]
            raise Untrusted(
                "feature spec", f"made for {manifest.feature_spec_hash[:12]}…, this agent has {ours}…"
            )
        scorer = cls(manifest, _session(model, manifest))
        scorer._check_golden()
        return scorer

    def score(self, window: Window) -> PredictionRecord:
        """The prediction for one window; Rejected when the window is not for this model."""
        if (window.component_type, window.tags) != (
            self.manifest.component_type,
            self.manifest.feature_spec.tags,
        ):
            raise Rejected(
                f"{window.component.key}: a window of {window.component_type} {list(window.tags)} "
                f"for a model of {self.manifest.component_type} {list(self.manifest.feature_spec.tags)}"
            )
        start = time.perf_counter()
        outputs = self._run(window.values)
        took_ms = (time.perf_counter() - start) * 1e3
        return PredictionRecord(
            **window.component._asdict(),
            timestamp=window.timestamp,
            prediction_id=str(uuid.uuid4()),
            cycle=window.cycle,
            model=self.model_ref,
            feature_spec_hash=self.manifest.feature_spec_hash,
            window_sha256=window.sha256(),
            inference_time_ms=took_ms,
            runtime=RUNTIME,
            window=window.blob(),
            **interpret(outputs, self.manifest, window),
        )

    def _run(self, values: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        features = window_features(values[np.newaxis], self.manifest.feature_spec)
        outputs = self._session.run(self.manifest.outputs, {INPUT: features})
        return dict(zip(self.manifest.outputs, outputs, strict=True))

    def _check_golden(self) -> None:
        tags = len(self.manifest.feature_spec.tags)
        for number, golden in enumerate(self.manifest.golden):
            found = self._run(values_from_blob(golden.window, tags))
            for name, expected in golden.outputs.items():
                difference = float(np.max(np.abs(np.ravel(found[name]) - np.asarray(expected, np.float32))))
                if not difference <= self.manifest.golden_tolerance:
                    raise Untrusted(
                        "golden window",
                        f"{self.manifest.folder}: window {number}, {name} is off by {difference:.3g}; "
                        f"allowed {self.manifest.golden_tolerance:.3g}",
                    )


def _session(model: bytes, manifest: Manifest) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a site's cores are for its polls
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own, one a cause
        raise Untrusted("model format", f"{manifest.folder}: {str(error)[:200]}") from error
    names = {output.name for output in session.get_outputs()}
    if [i.name for i in session.get_inputs()] != [INPUT] or not set(manifest.outputs) <= names:
        raise Untrusted(
            "model interface", f"{manifest.folder}: outputs {sorted(names)}, not {manifest.outputs}"
        )
    return session
