"""Two releases of a heat exchanger's model, small enough to write down: a sound one, and one that drifts.

Both say the same of any window below `level_kpa` of pressure drop, golden windows included, so the second
passes every check before it runs. As the exchanger fouls, its pressure drop rises past the level, and from
there on its remaining life falls by `per_kpa` cycles a kPa.
"""

import hashlib
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from shared.config_defaults import builtin_types
from shared.features import FeatureSpec
from shared.onnx_model import OnnxModel
from shared.schemas import GoldenWindow, Manifest, utc_now

KIND = "heat_exchanger"
TAG = "pressure_drop"
HORIZON = 1000.0  # cycles
NEVER_KPA = 1e9
OUTPUTS = ["anomaly_score", "ood_score", "rul"]


def write_release(folder: Path, version: int, level_kpa: float = NEVER_KPA, per_kpa: float = 0.0) -> Path:
    """`model.onnx` and `manifest.json`, as training would leave them; the folder."""
    spec = FeatureSpec(component_type=KIND, tags=tuple(builtin_types()[KIND]["tags"]))
    model = _graph(spec, level_kpa, per_kpa)
    draft = _manifest(spec, model, version, GoldenWindow(window=b"", outputs={}))
    window = np.linspace(1, 2, spec.window_cycles * len(spec.tags), dtype="<f4")
    found = OnnxModel(draft, model).run(window.reshape(1, spec.window_cycles, -1))
    outputs = {name: [float(x) for x in np.ravel(values)] for name, values in found.items()}
    golden = GoldenWindow(window=window.tobytes(), outputs=outputs)
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model)
    (folder / "manifest.json").write_text(_manifest(spec, model, version, golden).model_dump_json())
    return folder


def _graph(spec: FeatureSpec, level_kpa: float, per_kpa: float) -> bytes:
    node, constant = helper.make_node, helper.make_tensor
    column = spec.columns.index(TAG)
    nodes = [
        node("Slice", ["features", "first", "last", "axis"], ["tag"]),
        node("ReduceMean", ["tag"], ["mean"], axes=[1], keepdims=0),
        node("Sub", ["mean", "level"], ["above"]),
        node("Relu", ["above"], ["drifted"]),
        node("Mul", ["drifted", "per_kpa"], ["lost"]),
        node("Sub", ["life", "lost"], ["left"]),
        node("Relu", ["left"], ["rul"]),
        node("Mul", ["mean", "zero"], ["anomaly_score"]),
        node("Mul", ["mean", "zero"], ["ood_score"]),
    ]
    constants = [
        constant("first", TensorProto.INT64, [1], [column]),
        constant("last", TensorProto.INT64, [1], [column + 1]),
        constant("axis", TensorProto.INT64, [1], [2]),
        constant("level", TensorProto.FLOAT, [1], [level_kpa]),
        constant("per_kpa", TensorProto.FLOAT, [1], [per_kpa]),
        constant("life", TensorProto.FLOAT, [1, 3], [550.0, 600.0, 650.0]),
        constant("zero", TensorProto.FLOAT, [1], [0.0]),
    ]
    inputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", None, spec.shape[1]])]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3 if name == "rul" else 1])
        for name in OUTPUTS
    ]
    graph = helper.make_graph(nodes, KIND, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=10)
    return bytes(model.SerializeToString())


def _manifest(spec: FeatureSpec, model: bytes, version: int, golden: GoldenWindow) -> Manifest:
    return Manifest(
        name=KIND,
        version=version,
        component_type=KIND,
        sha256=hashlib.sha256(model).hexdigest(),
        feature_spec=spec,
        feature_spec_hash=spec.hash(),
        outputs=OUTPUTS,
        horizon_cycles=HORIZON,
        anomaly_threshold=1e6,
        ood_threshold=1.0,
        training_data_version="none: written by hand",
        metrics={},
        calibration={},
        golden=[golden],
        golden_tolerance=1e-4,
        oldest_agent_version="0.1.0",
        created=utc_now(),
    )
