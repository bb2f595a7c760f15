"""Puts what was answered on the record of the centre's inference, one entry a window."""

from control_plane.audit.prediction_spool import PredictionSpool
from control_plane.serving.caller import ACTIVE
from control_plane.serving.engine import Run
from shared.interpret import Fields
from shared.onnx_model import OnnxModel
from shared.schemas import Window

FLAGS = {"is_anomaly": "anomaly", "is_ood": "out_of_distribution"}  # word on the record, by field


def record(
    log: PredictionSpool, model: OnnxModel, window: Window, run: Run, found: Fields, mode: str = ACTIVE
) -> str:
    """Log one answer, in the mode that `caller.mode_of` says; its prediction id. Never raises: the log counts
    what it could not take."""
    manifest = model.manifest
    return log.log_prediction(
        *window.component,
        str(manifest.version),
        window.values,
        found["rul"],
        window.timestamp,
        component_type=manifest.component_type,
        model_name=manifest.name,
        model_sha256=manifest.sha256,
        mode=mode,
        feature_spec_sha256=manifest.feature_spec_hash,
        rul_low=found["rul_low"],
        rul_high=found["rul_high"],
        rul_state=found["rul_state"].value,
        raw=found["raw"],
        flags=[*(word for field, word in FLAGS.items() if found[field]), *_why(found)],
        inference_time_ms=run.took_ms,
        runtime=run.runtime,
    )


def _why(found: Fields) -> list[str]:
    because = found["withheld_because"]
    return [because] if because and because not in FLAGS.values() else []
