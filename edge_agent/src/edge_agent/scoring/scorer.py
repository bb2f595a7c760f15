"""A verified model, ready to score."""

import hashlib
import time
import uuid
from collections.abc import Sequence

import numpy as np

from shared.contributions import explained
from shared.errors import Rejected, Untrusted
from shared.golden import check_golden
from shared.interpret import Fields, interpret_many
from shared.onnx_model import RUNTIME, OnnxModel
from shared.schemas import Manifest, ModelRef, PredictionRecord, Window


class Scorer:
    """Scores windows with one release. Made by `load`, which checks it first."""

    def __init__(self, manifest: Manifest, model: OnnxModel) -> None:
        self.manifest = manifest
        self._model = model
        self.model_ref = ModelRef(name=manifest.name, version=manifest.version, sha256=manifest.sha256)

    @classmethod
    def load(cls, manifest: Manifest, model: bytes) -> "Scorer":
        """Check bytes, feature code and golden windows on this machine; Untrusted names what failed."""
        found = hashlib.sha256(model).hexdigest()
        if found != manifest.sha256:
            raise Untrusted(
                "sha256", f"model.onnx is {found[:12]}…, its manifest says {manifest.sha256[:12]}…"
            )
        ready = OnnxModel(manifest, model)
        check_golden(ready)
        return cls(manifest, ready)

    def score(self, window: Window) -> PredictionRecord:
        """The prediction for one window; Rejected when the window is not for this model."""
        [found] = self.score_many([window])
        if isinstance(found, Rejected):
            raise found
        return found

    def score_many(self, windows: Sequence[Window]) -> list[PredictionRecord | Rejected]:
        """For each window its prediction, or why it has none; one run of the graph for all of them.

        What matters most comes with the tags that contribute to it: see `shared.contributions`.
        """
        found: list[PredictionRecord | Rejected | None] = [self._problem(window) for window in windows]
        answers = iter(self._answers([w for w, problem in zip(windows, found, strict=True) if not problem]))
        return [problem or next(answers) for problem in found]

    def _problem(self, window: Window) -> Rejected | None:
        """Why the window is not for this model."""
        spec, place = self.manifest.feature_spec, window.component.key
        if (window.component_type, window.tags) != (self.manifest.component_type, spec.tags):
            return Rejected(
                f"{place}: a window of {window.component_type} {list(window.tags)} "
                f"for a model of {self.manifest.component_type} {list(spec.tags)}"
            )
        if window.values.shape != (expected := (spec.window_cycles, len(spec.tags))):
            return Rejected(f"{place}: a window of {window.values.shape} cycles x tags, not {expected}")
        return None

    def _answers(self, windows: Sequence[Window]) -> Sequence[PredictionRecord | Rejected]:
        if not windows:
            return []
        values = np.stack([window.values for window in windows])
        start = time.perf_counter()
        try:
            outputs = self._model.run(values)
        except Rejected as error:
            return [error] * len(windows)
        took_ms = (time.perf_counter() - start) * 1e3 / len(windows)
        answers = explained(self._model, values, interpret_many(outputs, self.manifest, values).each())
        return [
            fields if isinstance(fields, Rejected) else self._record(window, fields, took_ms)
            for window, fields in zip(windows, answers, strict=True)
        ]

    def _record(self, window: Window, fields: Fields, took_ms: float) -> PredictionRecord:
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
            **fields,
        )
