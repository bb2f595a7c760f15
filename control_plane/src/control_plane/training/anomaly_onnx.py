"""A fitted detector to ONNX for the edge, with the same labels."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from control_plane.training.anomaly import AnomalyDetector
from control_plane.training.anomaly_models import Floats, IsolationTrees, Mahalanobis, PrincipalComponents

OPSETS = {"": 17, "ai.onnx.ml": 3}  # the isolation forest converts to no newer ones
IR_VERSION = 8  # that of opset 17; onnxruntime has read it since 1.12
SCORE_PARITY_MAX = 1e-5  # between ONNX and the detector, relative above 1
INPUT, SCORE, LABEL = "points", "anomaly_score", "is_anomaly"

Nodes = list[onnx.NodeProto]
Constants = dict[str, ArrayLike]


def detector_to_onnx(detector: AnomalyDetector, golden: ArrayLike) -> bytes:
    """`points` `(N, D)` float32 -> `anomaly_score` `(N,)` float32, `is_anomaly` `(N,)` bool.

    The threshold is inside. A NaN is an anomaly for the distances. ValueError for a method that is not
    exported; RuntimeError when onnxruntime labels one of the `golden` points `(n, D)` otherwise than the
    detector, or scores it apart.
    """
    model = detector.model
    if isinstance(model, IsolationTrees):
        found = _forest(model, detector.threshold, np.shape(golden)[1])
    elif isinstance(model, Mahalanobis):
        found = _distance(*_mahalanobis(model), detector.threshold, len(model.mean))
    elif isinstance(model, PrincipalComponents):
        found = _distance(*_components(model), detector.threshold, len(model.mean))
    else:
        raise ValueError(
            f"the method {detector.method} is not exported; isolation_forest, mahalanobis and pca are"
        )
    onnx.checker.check_model(found)
    written = bytes(found.SerializeToString())
    _check_parity(detector, written, np.asarray(golden, np.float32))
    return written


def run_detector(model: bytes, points: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores and labels `(N,)` for points `(N, D)`."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    score, label = session.run([SCORE, LABEL], {INPUT: points})
    return score, label


def _mahalanobis(model: Mahalanobis) -> tuple[Nodes, Constants]:
    nodes = [
        helper.make_node("Sub", ["exact", "mean"], ["away"]),
        helper.make_node("MatMul", ["away", "whitening"], ["white"]),
        helper.make_node("ReduceSumSquare", ["white"], ["squared"], axes=[1], keepdims=0),
    ]
    return nodes, {"mean": model.mean, "whitening": model.whitening}


def _components(model: PrincipalComponents) -> tuple[Nodes, Constants]:
    """T2 and Q as multiples of their limits, folded into the axes; the larger one of the two."""
    nodes = [helper.make_node("Sub", ["exact", "mean"], ["away"])]
    for name in ("t2", "q"):
        nodes += [
            helper.make_node("MatMul", ["away", f"{name}_axes"], [f"{name}_parts"]),
            helper.make_node("ReduceSumSquare", [f"{name}_parts"], [name], axes=[1], keepdims=0),
        ]
    nodes.append(helper.make_node("Max", ["t2", "q"], ["squared"]))
    scale = model.std[:, np.newaxis]
    inside = model.inside / scale / np.sqrt(model.t2_limit)
    off = np.pad(model.off, ((0, 0), (0, 1))) / scale / np.sqrt(model.q_limit)  # never without a column
    return nodes, {"mean": model.mean, "t2_axes": inside, "q_axes": off}


def _distance(nodes: Nodes, constants: Constants, threshold: float, dimensions: int) -> onnx.ModelProto:
    """The square root of `squared` against the threshold; in float64, so that the labels are the same."""
    around = [
        helper.make_node("Cast", [INPUT], ["exact"], to=TensorProto.DOUBLE),
        *nodes,
        helper.make_node("Sqrt", ["squared"], ["distance"]),
        helper.make_node("LessOrEqual", ["distance", "threshold"], ["within"]),
        helper.make_node("Not", ["within"], [LABEL]),
        helper.make_node("Cast", ["distance"], [SCORE], to=TensorProto.FLOAT),
    ]
    return _model(around, constants | {"threshold": np.float64(threshold)}, dimensions)


def _forest(model: IsolationTrees, threshold: float, dimensions: int) -> onnx.ModelProto:
    """scikit-learn's own conversion with our threshold as its offset, under our names."""
    from skl2onnx import to_onnx

    offset = model.forest.offset_
    model.forest.offset_ = -threshold  # what `predict` and `decision_function` compare with
    try:
        converted = to_onnx(model.forest, np.zeros((1, dimensions), np.float32), target_opset=OPSETS)
    finally:
        model.forest.offset_ = offset
    graph = converted.graph
    label, margin = (output.name for output in graph.output)
    nodes = [
        *graph.node,
        helper.make_node("Equal", [label, "outside"], ["labels"]),
        helper.make_node("Reshape", ["labels", "flat"], [LABEL]),
        helper.make_node("Reshape", [margin, "flat"], ["margins"]),
        helper.make_node("Sub", ["threshold", "margins"], [SCORE]),
    ]
    nodes[0:0] = [helper.make_node("Identity", [INPUT], [graph.input[0].name])]
    constants: Constants = {
        "outside": np.int64(-1),
        "flat": np.array([-1]),
        "threshold": np.float32(threshold),
    }
    return _model(nodes, constants, dimensions, list(graph.initializer))


def _model(
    nodes: Nodes, constants: Constants, dimensions: int, weights: Sequence[onnx.TensorProto] = ()
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "anomaly",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", dimensions])],
        [
            helper.make_tensor_value_info(SCORE, TensorProto.FLOAT, ["batch"]),
            helper.make_tensor_value_info(LABEL, TensorProto.BOOL, ["batch"]),
        ],
        [*weights, *(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def _check_parity(detector: AnomalyDetector, model: bytes, golden: NDArray[np.float32]) -> None:
    score, label = run_detector(model, golden)
    expected: Floats = detector.score(golden)
    wrong = np.flatnonzero(label != (expected > detector.threshold))
    if len(wrong):
        raise RuntimeError(
            f"ONNX labels {len(wrong)} of {len(golden)} points otherwise, first point {wrong[0]}"
        )
    difference = float((np.abs(score - expected) / np.maximum(1.0, np.abs(expected))).max())
    if not difference <= SCORE_PARITY_MAX:
        raise RuntimeError(f"ONNX scores differ by {difference:.2g}; allowed {SCORE_PARITY_MAX:g}")
