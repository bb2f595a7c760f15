"""Tensors of the Open Inference Protocol: read exactly, or refused by name."""

import math

import numpy as np
import pytest

from control_plane.serving.oip_tensors import WINDOWS_MAX, answer, metadata, read_windows, requested
from shared.interpret import interpret_many
from shared.onnx_model import OnnxModel
from shared.wire import open_inference_pb2 as oip
from tests.support.releases import make_release

MANIFEST, MODEL = make_release()
SPEC = MANIFEST.feature_spec
CYCLES, TAGS = SPEC.window_cycles, len(SPEC.tags)
VALUES = np.linspace(1, 9, 2 * CYCLES * TAGS, dtype=np.float32).reshape(2, CYCLES, TAGS)


def request(values=VALUES, raw=True, **changes):
    tensor = {"name": "window", "datatype": "FP32", "shape": values.shape} | changes
    asked = oip.ModelInferRequest(model_name="coolant_pump", id="7")
    asked.inputs.add(**tensor)
    if raw:
        asked.raw_input_contents.append(values.astype("<f4").tobytes())
    else:
        asked.inputs[0].contents.fp32_contents.extend(values.ravel().tolist())
    return asked


def answered(asked, manifest=MANIFEST):
    values = read_windows(asked, manifest.feature_spec)
    found = interpret_many(OnnxModel(manifest, MODEL).run(values), manifest, values).each()
    noted = [fields | {"prediction_id": f"p{n}"} for n, fields in enumerate(found)]
    return answer(asked, manifest, requested(asked, manifest), noted)


def words(raw: bytes) -> list[str]:
    """BYTES of the protocol: 4 bytes of length before each."""
    found = []
    while raw:
        size = int.from_bytes(raw[:4], "little")
        found.append(raw[4 : 4 + size].decode())
        raw = raw[4 + size :]
    return found


@pytest.mark.parametrize("raw", [True, False])
def test_windows_are_read_bit_for_bit_in_either_form(raw):
    """`raw_input_contents` and `fp32_contents` hold the same windows; infinity is a bad value as NaN is."""
    values = VALUES.copy()
    values[0, 3, 0], values[1, 0, 0] = math.nan, math.inf
    found = read_windows(request(values, raw), SPEC)
    values[1, 0, 0] = math.nan
    assert found.tobytes() == values.tobytes()


def test_an_answer_comes_in_the_form_that_was_asked_in():
    """Raw to raw, typed to typed, the same numbers in both, and words beside them."""
    raw, typed = answered(request()), answered(request(raw=False))
    assert [list(tensor.shape) for tensor in raw.outputs] == [[2, 1], [2, 1], [2, 3], [2, 1], [2, 1], [2, 1]]
    names = [tensor.name for tensor in raw.outputs]
    assert names == [*MANIFEST.outputs, "rul_state", "withheld_because", "prediction_id"]
    for tensor, content in zip(typed.outputs[:3], raw.raw_output_contents[:3], strict=True):
        assert np.array(tensor.contents.fp32_contents, "<f4").tobytes() == content
    assert words(raw.raw_output_contents[3]) == ["ok", "ok"]
    assert [list(t.contents.bytes_contents) for t in typed.outputs[3:]] == [
        [b"ok", b"ok"], [b"", b""], [b"p0", b"p1"],
    ]  # fmt: skip
    assert (raw.id, raw.model_version, raw.parameters["model_sha256"].string_param) == (
        "7", "1", MANIFEST.sha256,
    )  # fmt: skip
    assert not typed.raw_output_contents


def test_a_withheld_number_is_nan_and_says_why():
    """The protocol has no way round what may be said of a window."""
    found = answered(request(), MANIFEST.model_copy(update={"ood_threshold": -1.0}))
    by_name = {t.name: raw for t, raw in zip(found.outputs, found.raw_output_contents, strict=True)}
    assert np.isnan(np.frombuffer(by_name["rul"], "<f4")).all()
    assert words(by_name["withheld_because"]) == ["out_of_distribution"] * 2


def test_chosen_outputs_come_alone_in_the_order_asked():
    asked = request()
    for name in ("rul", "anomaly_score"):
        asked.outputs.add(name=name)
    assert [tensor.name for tensor in answered(asked).outputs] == ["rul", "anomaly_score"]


def two_inputs():
    asked = request()
    asked.inputs.add(name="other", datatype="FP32", shape=[1])
    return asked


def both_forms():
    asked = request(raw=False)
    asked.raw_input_contents.append(b"")
    return asked


def unknown_output():
    asked = request()
    asked.outputs.add(name="life")
    return asked


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (oip.ModelInferRequest(), "inputs: found none; expected one, 'window'"),
        (two_inputs(), "inputs: found window, other; expected one"),
        (request(name="x"), "inputs: found x; expected one, 'window'"),
        (request(datatype="FP64"), "input 'window': datatype FP64; expected FP32"),
        (request(VALUES[0]), f"shape [{CYCLES}, {TAGS}]; expected [n, {CYCLES}, {TAGS}]"),
        (request(VALUES[:0]), "n from 1 to"),
        (request(shape=[]), "input 'window': shape []"),
        (request(shape=[WINDOWS_MAX + 1, CYCLES, TAGS]), f"n from 1 to {WINDOWS_MAX}"),
        (request(shape=[-1, CYCLES, TAGS]), "n from 1 to"),
        (request(shape=[1, CYCLES, TAGS]), f"{VALUES.nbytes} bytes; FP32 of shape"),
        (request(raw=False, shape=[1, CYCLES, TAGS]), f"{VALUES.size} numbers in fp32_contents"),
        (both_forms(), f"found 1 beside {VALUES.size} numbers"),
        (request(VALUES * math.nan), "window 0 has not one finite number"),
        (unknown_output(), "outputs: found 'life'; coolant_pump/1 has anomaly_score"),
    ],
)
def test_what_does_not_fit_is_named(asked, said):
    """A refusal names the tensor, what was found, and what would be right."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its words are compared
        requested(asked, MANIFEST) if asked.outputs else read_windows(asked, SPEC)
    assert said in str(caught.value)


def test_metadata_names_every_tensor_that_an_answer_has():
    told, found = metadata(MANIFEST), answered(request())
    assert [(t.name, t.datatype, t.shape[1]) for t in told.outputs] == [
        (t.name, t.datatype, t.shape[1]) for t in found.outputs
    ]
    assert list(told.inputs[0].shape) == [-1, CYCLES, TAGS]
