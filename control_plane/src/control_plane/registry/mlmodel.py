"""The files that make a run's `model.onnx` an MLflow model: its signature and an example of its input.

They stand beside the model's bytes and leave them alone, where `mlflow.onnx.log_model` would write the
graph anew. So any MLflow client can load `models:/NAME@champion`, and what it runs is what is released.
"""

import json

import numpy as np
import onnx

from control_plane.registry.mlflow_client import mlflow
from shared.features import window_features
from shared.schemas import Manifest
from shared.schemas.window import values_from_blob

MODEL_FILE = "model.onnx"
EXAMPLE_FILE = "input_example.json"
INPUT = "features"


def mlmodel_files(model: bytes, manifest: Manifest, run_id: str) -> dict[str, bytes]:
    """`MLmodel` and the input example, by file name. The example is the manifest's first golden window."""
    mlflow()
    from mlflow.models import Model

    described = Model(
        artifact_path="",
        run_id=run_id,
        signature=_signature(model),
        saved_input_example_info={"artifact_path": EXAMPLE_FILE, "type": "ndarray", "format": "tf-serving"},
        metadata={"feature_spec_hash": manifest.feature_spec_hash, "sha256": manifest.sha256},
    )
    described.add_flavor(
        "onnx", onnx_version=onnx.__version__, data=MODEL_FILE, providers=["CPUExecutionProvider"]
    )
    described.add_flavor("python_function", loader_module="mlflow.onnx", data=MODEL_FILE)
    return {"MLmodel": described.to_yaml().encode(), EXAMPLE_FILE: _example(manifest)}


def _example(manifest: Manifest) -> bytes:
    spec = manifest.feature_spec
    values = values_from_blob(manifest.golden[0].window, len(spec.tags))
    features = window_features(values[np.newaxis], spec)
    return json.dumps({"inputs": {INPUT: features.tolist()}}).encode()


def _signature(model: bytes) -> object:
    """Input and output tensors as the graph itself declares them; -1 where a length is free."""
    from mlflow.models.signature import ModelSignature
    from mlflow.types import Schema, TensorSpec

    graph = onnx.load_model_from_string(model).graph

    def schema(tensors: list[onnx.ValueInfoProto]) -> Schema:
        return Schema([TensorSpec(np.dtype(np.float32), _shape(each), each.name) for each in tensors])

    return ModelSignature(schema(list(graph.input)), schema(list(graph.output)))


def _shape(tensor: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value or -1 for dim in tensor.type.tensor_type.shape.dim)
