"""A fitted graph to a release: ONNX bytes with the weights inside, golden windows, a manifest."""

import contextlib
import io
import logging
import warnings
import zipfile
from collections.abc import Sequence

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from control_plane.training.fit import Fitted
from control_plane.training.histories import Unit, windows
from control_plane.training.onnx_outputs import run_onnx
from shared.features import FeatureSpec, window_features
from shared.schemas import GoldenWindow

OPSET = 18  # what the exporter writes without converting; onnxruntime has run it since 1.14
# ONNX against torch. A RUL's error counts in horizons, the network's own unit: a float32 near 125 cycles has
# no place finer than 8e-6. A score's counts in standard deviations, relative above one.
PARITY_MAX = 1e-5
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


def to_torchscript(fitted: Fitted, spec: FeatureSpec, units: Sequence[Unit]) -> bytes:
    """The same graph as TorchScript (PRD 5.4), traced: it runs without this project's code.

    RuntimeError when it answers other than torch for `units`.
    """
    raw = np.concatenate([windows(unit, spec, PARITY_STRIDE)[0] for unit in units])
    example = torch.from_numpy(window_features(raw, spec))
    written = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch would rather have its own formats used; C++ reads this one
        torch.jit.save(torch.jit.trace(fitted.graph, example[:2]), written)
        script = _without_source(written.getvalue())
        found = torch.jit.load(io.BytesIO(script))(example)
        expected = fitted.graph(example)
    answers = dict(zip(output_names(fitted), (value.numpy() for value in found), strict=True))
    _check_same("TorchScript", parity(answers, [value.numpy() for value in expected], fitted.graph.horizon))
    return script


def _without_source(script: bytes) -> bytes:
    """Without the notes on which file each operation came from: they have the paths of this machine."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(script)) as source, zipfile.ZipFile(written, "w") as kept:
        for name in source.namelist():
            if not name.endswith(".debug_pkl"):
                kept.writestr(zipfile.ZipInfo(name), source.read(name))  # no date: same graph, same bytes
    return written.getvalue()


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


def parity(found: dict[str, Floats], expected: Sequence[Floats], horizon: float) -> dict[str, float]:
    """The greatest difference of each output, in the unit of `PARITY_MAX`; `horizon` in cycles."""
    worst = {}
    for (name, value), truth in zip(found.items(), expected, strict=True):
        scale = horizon if name == "rul" else np.maximum(1.0, np.abs(truth))
        worst[name] = float((np.abs(value - truth) / scale).max())
    return worst


def _check_parity(fitted: Fitted, model: bytes, example: torch.Tensor) -> None:
    with torch.no_grad():
        expected = fitted.graph(example)
    found = run_onnx(model, example.numpy(), output_names(fitted))
    _check_same("ONNX", parity(found, [value.numpy() for value in expected], fitted.graph.horizon))


def _check_same(form: str, differences: dict[str, float]) -> None:
    for name, difference in differences.items():
        if not difference <= PARITY_MAX:
            raise RuntimeError(
                f"{form} and torch differ by {difference:.2g} in {name}; allowed {PARITY_MAX:g}"
            )
