"""Releases that people approved and that must not run all the same."""

import hashlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_agent.scoring import Scorer
from edge_agent.update.release import parse_manifest
from shared.errors import Rejected, Untrusted
from shared.onnx_model import OnnxModel
from shared.schemas import Manifest
from tests.support.releases import graph, make_release, spec

WINDOW = np.ones((1, 30, len(spec().tags)), np.float32)


def outside(location: str, as_constant: bool) -> bytes:
    """The sound graph, its features first multiplied by a matrix that lies in another file."""
    width = spec().shape[1]
    model = onnx.load_model_from_string(graph(width))
    weight = onnx.TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[width, width])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    model.graph.node[0].input[0] = "seen"
    model.graph.node.insert(0, helper.make_node("MatMul", ["features", "weight"], ["seen"]))
    if as_constant:
        model.graph.node.insert(0, helper.make_node("Constant", [], ["weight"], value=weight))
    else:
        model.graph.initializer.append(weight)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("as_constant", [False, True])
@pytest.mark.parametrize("location", ["w.bin", "./w.bin", "../{folder}/w.bin", "{path}/w.bin"])
def test_weights_outside_the_signed_bytes_are_refused(tmp_path, monkeypatch, location, as_constant):
    """The file is there, in the working directory: onnxruntime by itself takes it (as it took it in 1.23)."""
    (tmp_path / "w.bin").write_bytes(np.eye(spec().shape[1], dtype="<f4").tobytes())
    monkeypatch.chdir(tmp_path)
    model = outside(location.format(folder=tmp_path.name, path=tmp_path), as_constant)
    with pytest.raises(Untrusted, match="model format"):
        OnnxModel(make_release()[0], model)


def test_an_answer_of_another_shape_is_rejected_and_never_read(tmp_path):
    """Two numbers for a RUL would end the poll, a million of a score would flood the record."""
    manifest, _ = make_release()
    for output, width in (("rul", 2), ("ood_score", 1000)):
        with pytest.raises(Rejected, match=f"{output} has shape"):
            OnnxModel(manifest, shaped(output, width)).run(WINDOW)


def shaped(output: str, width: int) -> bytes:
    """The sound graph with one output of another width."""
    model = onnx.load_model_from_string(graph(spec().shape[1]))
    node = next(node for node in model.graph.node if node.output[0] == output)
    node.output[0] = "before"
    wide = helper.make_tensor("wide", TensorProto.INT64, [2], [1, width])
    first = helper.make_tensor("first", TensorProto.INT64, [1], [0])
    model.graph.initializer.extend([wide, first])
    model.graph.node.append(helper.make_node("Gather", ["before", "first"], ["one"], axis=1))
    model.graph.node.append(helper.make_node("Expand", ["one", "wide"], [output]))
    for each in model.graph.output:
        each.type.tensor_type.ClearField("shape")
    return bytes(model.SerializeToString())


def refusal_of(manifest: Manifest, model: bytes) -> str:
    sound = manifest.model_copy(update={"sha256": hashlib.sha256(model).hexdigest()})
    with pytest.raises(Untrusted) as refused:
        Scorer.load(sound, model)
    return str(refused.value)


def test_golden_windows_must_ask_for_every_output():
    """One that expects nothing would let any model pass."""
    manifest, model = make_release()
    [golden] = manifest.golden
    for kept in ([], ["rul"]):
        few = golden.model_copy(update={"outputs": {name: golden.outputs[name] for name in kept}})
        assert "golden window: coolant_pump/1: window 0 cannot be scored: expects" in refusal_of(
            manifest.model_copy(update={"golden": [few]}), model
        )


def test_golden_windows_of_a_wrong_size_are_refused():
    manifest, model = make_release()
    [golden] = manifest.golden
    for window in (b"", golden.window[:-3], golden.window * 2):
        wrong = golden.model_copy(update={"window": window})
        refusal_of(manifest.model_copy(update={"golden": [wrong]}), model)
    for numbers in ([], [0.0], [0.0] * 4):
        wrong = golden.model_copy(update={"outputs": golden.outputs | {"rul": numbers}})
        refusal_of(manifest.model_copy(update={"golden": [wrong]}), model)


def test_a_model_of_another_shape_is_refused_when_it_is_loaded():
    manifest, _ = make_release()
    assert "rul has shape" in refusal_of(manifest, shaped("rul", 2))


def test_features_of_another_component_type_are_no_manifest():
    """It would be taken, and then score no window."""
    with pytest.raises(ValueError, match="features of a heat_exchanger for a coolant_pump"):
        make_release(feature_spec=spec("heat_exchanger"))


def test_a_manifest_with_a_key_twice_is_refused():
    """People would read the one value, the machine take the other."""
    manifest, model = make_release()
    text = manifest.model_dump_json()
    assert parse_manifest(text.encode(), manifest.folder, model) == manifest
    twice = text[:-1] + ',"anomaly_threshold":1e300}'
    with pytest.raises(Untrusted, match="a key twice") as refused:
        parse_manifest(twice.encode(), manifest.folder, model)
    assert refused.value.check == "manifest"


def test_a_manifest_nested_without_end_is_refused():
    _, model = make_release()
    with pytest.raises(Untrusted) as refused:
        parse_manifest(b"[" * 100_000, "coolant_pump/1", model)
    assert refused.value.check == "manifest"
