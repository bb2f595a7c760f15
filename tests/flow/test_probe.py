"""A release is loaded in a process of its own first: what blows up does so there, within bounds."""

import hashlib

import onnx
import pytest
from onnx import TensorProto, helper

from edge_agent.update import Release, load_apart
from shared.errors import Untrusted
from shared.schemas import Assignment
from tests.support.releases import make_release

NODE, CONSTANT = helper.make_node, helper.make_tensor


def release(model: bytes | None = None) -> Release:
    manifest, sound = make_release()
    data = sound if model is None else model
    manifest = manifest.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
    told = Assignment(component_type="coolant_pump", mode="active", rollout_id="r", generation=1)
    return Release(manifest, manifest.model_dump_json().encode(), data, told, b"", b"")


def refused(model: bytes) -> Untrusted:
    with pytest.raises(Untrusted) as refusal:
        load_apart(release(model))
    return refusal.value


def with_rul_of(nodes: list[onnx.NodeProto], constants: list[TensorProto]) -> bytes:
    """The sound graph, whose RUL needs `bomb` too."""
    _, sound = make_release()
    model = onnx.load_from_string(sound)
    for node in model.graph.node:
        if node.output[0] == "rul":
            node.output[0] = "rul_alone"
    model.graph.initializer.extend(constants)
    model.graph.node.extend([*nodes, NODE("Add", ["rul_alone", "bomb"], ["rul"])])
    return bytes(model.SerializeToString())


def test_a_sound_release_passes():
    load_apart(release())


def test_a_graph_that_wants_more_memory_than_a_model_needs_is_refused():
    """160 GB from a file of a few hundred bytes."""
    shape = CONSTANT("shape", TensorProto.INT64, [2], [200_000, 200_000])
    nodes = [NODE("ConstantOfShape", ["shape"], ["huge"]), NODE("ReduceSum", ["huge"], ["bomb"], keepdims=0)]
    refusal = refused(with_rul_of(nodes, [shape]))
    assert refusal.check in ("golden window", "model load")


def test_a_graph_that_does_not_end_is_ended(monkeypatch):
    monkeypatch.setattr("edge_agent.update.probe.CPU_S_MAX", 1)
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [NODE("Add", ["old", "old"], ["new"]), NODE("Identity", ["on"], ["still"])],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("on", TensorProto.BOOL, []),
            value("old", TensorProto.FLOAT, [1]),
        ],
        [value("still", TensorProto.BOOL, []), value("new", TensorProto.FLOAT, [1])],
    )
    constants = [
        CONSTANT("times", TensorProto.INT64, [], [10**12]),
        CONSTANT("yes", TensorProto.BOOL, [], [True]),
        CONSTANT("nought", TensorProto.FLOAT, [1], [0.0]),
    ]
    loop = NODE("Loop", ["times", "yes", "nought"], ["bomb"], body=body)
    refusal = refused(with_rul_of([loop], constants))
    assert refusal.check == "model load"
    assert "1 s of CPU" in str(refusal)


def test_weights_outside_the_signed_file_are_refused_though_the_file_is_there(tmp_path, monkeypatch):
    """They would be loaded from the agent's working directory, unsigned."""
    monkeypatch.chdir(tmp_path)
    _, sound = make_release()
    model = onnx.load_from_string(sound)
    [steps] = [constant for constant in model.graph.initializer if constant.name == "steps"]
    (tmp_path / "weights.bin").write_bytes(onnx.numpy_helper.to_array(steps).tobytes())
    steps.ClearField("float_data")
    steps.data_location = TensorProto.EXTERNAL
    entry = steps.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    assert refused(model.SerializeToString()).check == "model format"


def test_a_process_that_ends_without_a_word_is_a_refusal(monkeypatch):
    monkeypatch.setattr("edge_agent.update.probe.sys.executable", "/bin/false")
    with pytest.raises(Untrusted, match=r"model load: .* ended with 1"):
        load_apart(release())
