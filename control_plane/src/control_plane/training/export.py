"""A fitted graph to a release: ONNX bytes with the weights inside, golden windows, a manifest."""

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from control_plane.training.fit import Fitted
from control_plane.training.histories import Unit, windows
from shared.features import FeatureSpec, window_features
from shared.schemas import GoldenWindow

OPSET = 18  # what the exporter writes without converting; onnxruntime has run it since 1.14
PARITY_MAX = 1e-4  # ONNX against torch, relative above 1 (cycles, standard deviations)
PARITY_STRIDE = 10  # every tenth window is compared
GOLDEN_WINDOWS = 3

Floats = NDArray[np.float32]


def output_names(fitted: Fitted) -> list[str]:
    """The graph's outputs, in order."""
    return (["rul"] if fitted.graph.rul is not None else []) + ["anomaly_score", "ood_score"]


def to_onnx(fitted: Fitted, spec: FeatureSpec, units: Sequence[Unit]) -> bytes:
    """The whole graph in one file; RuntimeError when onnxruntime answers other than torch for `units`."""
    raw = np.concatenate([windows(unit, spec, PARITY_STRIDE)[0] for unit in units])
    example = torch.from_numpy(window_features(raw, spec))
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter's remarks on its own internals
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            fitted.graph,
            (example,),
            input_names=["features"],
            output_names=output_names(fitted),
            dynamic_shapes={"features": {0: torch.export.Dim("batch", min=1, max=65_536)}},
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("the ONNX exporter gave no program")
    model = _without_notes(program.model_proto)
    _check_parity(fitted, model, example)
    return model


def _without_notes(model: onnx.ModelProto) -> bytes:
    """The exporter notes each node's origin, with the paths of this machine: nobody else's business."""
    graph = model.graph
    for noted in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    return bytes(model.SerializeToString())


def run_onnx(model: bytes, features: Floats, names: Sequence[str]) -> dict[str, Floats]:
    """Outputs by name for features `(N, W, F)`."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(list(names), {"features": features}), strict=True))


def golden_windows(
    model: bytes, units: Sequence[Unit], spec: FeatureSpec, names: Sequence[str]
) -> list[GoldenWindow]:
    """Early, middle and late windows of held-out units with what this machine's onnxruntime answers."""
    raw, _ = windows(units[0], spec)
    chosen = raw[np.linspace(0, len(raw) - 1, GOLDEN_WINDOWS).astype(int)]
    outputs = [run_onnx(model, window_features(w[np.newaxis], spec), names) for w in chosen]
    return [
        GoldenWindow(
            window=np.ascontiguousarray(w, "<f4").tobytes(),
            outputs={name: [float(v) for v in np.ravel(found[name])] for name in names},
        )
        for w, found in zip(chosen, outputs, strict=True)
    ]


def _check_parity(fitted: Fitted, model: bytes, example: torch.Tensor) -> None:
    with torch.no_grad():
        expected = fitted.graph(example)
    found = run_onnx(model, example.numpy(), output_names(fitted))
    for (name, value), truth in zip(found.items(), expected, strict=True):
        scale = np.maximum(1.0, np.abs(truth.numpy()))
        difference = float((np.abs(value - truth.numpy()) / scale).max())
        if not difference <= PARITY_MAX:
            raise RuntimeError(f"ONNX and torch differ by {difference:.2g} in {name}; allowed {PARITY_MAX:g}")
