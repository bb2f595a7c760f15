"""Two releases of a heat exchanger's model, small enough to write down: a sound one, and one that drifts.

Both say the same of any window below a `level` of flow resistance, golden windows included, so the second
passes every check before it runs. As the exchanger fouls, its resistance rises past the level, and from
there on its remaining life falls with it. Resistance is pressure drop over the square of the flow, so that
it does not follow the load.
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
DROP, FLOW = "pressure_drop", "flow_rate"  # kPa, kg/s
FLOW_MIN = 50.0  # kg/s: below it the quotient is noise
HORIZON = 1000.0  # cycles
NEVER = 1e9
OUTPUTS = ["anomaly_score", "ood_score", "rul"]


def write_release(folder: Path, version: int, level: float = NEVER, lost_per_unit: float = 0.0) -> Path:
    """`model.onnx` and `manifest.json`, as training would leave them; the folder.

    `level` in kPa/(kg/s)²; above it `lost_per_unit` cycles are lost a unit.
    """
    spec = FeatureSpec(component_type=KIND, tags=tuple(builtin_types()[KIND]["tags"]))
    model = _graph(spec, level, lost_per_unit)
    draft = _manifest(spec, model, version, GoldenWindow(window=b"", outputs={}))
    window = np.linspace(1, 2, spec.window_cycles * len(spec.tags), dtype="<f4")
    found = OnnxModel(draft, model).run(window.reshape(1, spec.window_cycles, -1))
    outputs = {name: [float(x) for x in np.ravel(values)] for name, values in found.items()}
    golden = GoldenWindow(window=window.tobytes(), outputs=outputs)
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model)
    (folder / "manifest.json").write_text(_manifest(spec, model, version, golden).model_dump_json())
    return folder


def _graph(spec: FeatureSpec, level: float, lost_per_unit: float) -> bytes:
    node, constant = helper.make_node, helper.make_tensor
    drop, flow = spec.columns.index(DROP), spec.columns.index(FLOW)
    nodes = [
        node("Gather", ["features", "drop"], ["kpa"], axis=2),
        node("Gather", ["features", "flow"], ["kg_s"], axis=2),
        node("Max", ["kg_s", "flow_min"], ["flowing"]),
        node("Mul", ["flowing", "flowing"], ["squared"]),
        node("Div", ["kpa", "squared"], ["resistances"]),
        node("ReduceMean", ["resistances"], ["resistance"], axes=[1], keepdims=0),
        node("Sub", ["resistance", "level"], ["above"]),
        node("Relu", ["above"], ["drifted"]),
        node("Mul", ["drifted", "lost_per_unit"], ["lost"]),
        node("Sub", ["life", "lost"], ["left"]),
        node("Relu", ["left"], ["rul"]),
        node("Mul", ["resistance", "zero"], ["anomaly_score"]),
        node("Mul", ["resistance", "zero"], ["ood_score"]),
    ]
    constants = [
        constant("drop", TensorProto.INT64, [1], [drop]),
        constant("flow", TensorProto.INT64, [1], [flow]),
        constant("flow_min", TensorProto.FLOAT, [1], [FLOW_MIN]),
        constant("level", TensorProto.FLOAT, [1], [level]),
        constant("lost_per_unit", TensorProto.FLOAT, [1], [lost_per_unit]),
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
