"""Attacks by a release that two people *did* approve: deceived, careless, or handed it by a broken pipeline.

The signatures are sound: what refuses these is what the site's own machine finds when it looks at them.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench.attack_stage import Attack, Stage
from shared.schemas import GoldenWindow, Manifest
from tests.support.releases import KIND, OUTPUTS, graph, make_release, spec

APPROVED = "two approvers' signatures"
BOMB_FLOATS = (
    400_000_000  # 1.5 GiB from a hundred bytes: deadly enough to be seen, harmless to a developer's machine
)
DEEP = 2_000  # protobuf messages inside one another
ROUNDS = 2_000_000_000
LIVE_FEATURE_MIN = 3.0  # above what the golden windows have on average, below what a pump has


def _taken(stage: Stage, manifest: Manifest | bytes, model: bytes) -> None:
    stage.assign(stage.approve_release(manifest, model))


def manifest_with(**changes: object) -> Callable[[Stage], None]:
    """Fields of the manifest replaced after the fact, as text: no class of ours would make it."""

    def prepare(stage: Stage) -> None:
        manifest, model = stage.next_release()
        document = json.loads(manifest.model_dump_json()) | changes
        folder = manifest.folder
        stage.assign(stage.approve_release(json.dumps(document).encode(), model, folder))

    return prepare


def duplicate_keys(stage: Stage) -> None:
    """One threshold for the people who read the manifest, another for the machine."""
    manifest, model = stage.next_release()
    text = manifest.model_dump_json()
    twice = text[:-1] + ',"anomaly_threshold":1e300}'
    stage.assign(stage.approve_release(twice.encode(), model, manifest.folder))


def neighbours_spec(stage: Stage) -> None:
    """A pump's release with the features of a heat exchanger: it would be taken, and score no window."""
    other, model = make_release(kind="heat_exchanger", version=next(stage.versions))
    document = json.loads(other.model_dump_json()) | {"name": KIND, "component_type": KIND}
    stage.assign(stage.approve_release(json.dumps(document).encode(), model, f"{KIND}/{other.version}"))


def other_feature_code(stage: Stage) -> None:
    _taken(stage, *stage.next_release(feature_spec_hash="0" * 64))


def other_answers(stage: Stage) -> None:
    """The model does not say what it said when it was validated."""
    manifest, model = stage.next_release()
    outputs = manifest.golden[0].outputs | {"rul": [0.0, 1.0, 2.0]}
    golden = [manifest.golden[0].model_copy(update={"outputs": outputs})]
    _taken(stage, manifest.model_copy(update={"golden": golden}), model)


def no_answers(stage: Stage) -> None:
    """A golden window that expects nothing: any model passes it."""
    manifest, model = stage.next_release()
    golden = [manifest.golden[0].model_copy(update={"outputs": {}})]
    _taken(stage, manifest.model_copy(update={"golden": golden}), model)


def short_window(stage: Stage) -> None:
    """A golden window of the wrong size."""
    manifest, model = stage.next_release()
    golden = [GoldenWindow(window=manifest.golden[0].window[:-3], outputs=manifest.golden[0].outputs)]
    _taken(stage, manifest.model_copy(update={"golden": golden}), model)


# --- graphs


def _with_model(stage: Stage, model: bytes, **changes: Any) -> None:
    """Approved with its own hash; its golden outputs are those of the sound graph of the same version."""
    manifest, _ = make_release(version=next(stage.versions), **changes)
    _taken(stage, manifest.model_copy(update={"sha256": hashlib.sha256(model).hexdigest()}), model)


def _added(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> bytes:
    """The sound graph, whose anomaly score also hangs on `extra`."""
    model = onnx.load_model_from_string(graph(spec().shape[1]))
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants)
    score = next(node for node in model.graph.node if node.output[0] == "anomaly_score")
    score.output[0] = "plain_score"
    model.graph.node.append(helper.make_node("Add", ["plain_score", "extra"], ["anomaly_score"]))
    return bytes(model.SerializeToString())


def bomb(stage: Stage) -> None:
    """A hundred bytes that unfold to 1.5 GiB."""
    shape = numpy_helper.from_array(np.array([BOMB_FLOATS], np.int64), "bomb_shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["bomb_shape"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["extra"], keepdims=0),
    ]
    _with_model(stage, _added(nodes, [shape]))


def bomb_at_run(stage: Stage) -> None:
    """The same, its size worked out from the input: nothing that an optimiser folds beforehand."""
    constants = [
        numpy_helper.from_array(np.array([BOMB_FLOATS], np.int64), "bomb_shape"),
        numpy_helper.from_array(np.array([0], np.int64), "nought"),
    ]
    nodes = [
        helper.make_node("Shape", ["features"], ["given"]),
        helper.make_node("Gather", ["given", "nought"], ["rows"]),
        helper.make_node("Mul", ["rows", "bomb_shape"], ["bomb_size"]),
        helper.make_node("ConstantOfShape", ["bomb_size"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["extra"], keepdims=0),
    ]
    _with_model(stage, _added(nodes, constants))


def endless_loop(stage: Stage) -> None:
    """A loop of two thousand million rounds."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
            helper.make_node("Sin", ["state"], ["next_state"]),
        ],
        "round",
        [
            value("round", TensorProto.INT64, []),
            value("go_on", TensorProto.BOOL, []),
            value("state", TensorProto.FLOAT, [1]),
        ],
        [value("goes_on", TensorProto.BOOL, []), value("next_state", TensorProto.FLOAT, [1])],
    )
    constants = [
        numpy_helper.from_array(np.array(ROUNDS, np.int64), "rounds"),
        numpy_helper.from_array(np.array(True), "for_ever"),
        numpy_helper.from_array(np.array([1.0], np.float32), "start"),
    ]
    nodes = [
        helper.make_node("Loop", ["rounds", "for_ever", "start"], ["looped"], body=body),
        helper.make_node("Mul", ["looped", "zero"], ["extra"]),
    ]
    _with_model(stage, _added(nodes, constants))


def nested(stage: Stage) -> None:
    """Protobuf messages inside one another, deeper than a stack."""
    inner = b""
    for _ in range(DEEP):  # GraphProto.node (1) . attribute (5) . g (6)
        for field in (6, 5, 1):
            inner = bytes([field << 3 | 2]) + _varint(len(inner)) + inner
    _with_model(stage, bytes([7 << 3 | 2]) + _varint(len(inner)) + inner)


def _varint(number: int) -> bytes:
    digits = b""
    while number > 0x7F:
        digits += bytes([number & 0x7F | 0x80])
        number >>= 7
    return digits + bytes([number])


def garbage(stage: Stage) -> None:
    _with_model(stage, stage.chance.randbytes(4_096))


def weights_outside(stage: Stage) -> None:
    """The signed file names another one, which lies on the site's disk and which nobody signed."""
    weights = stage.folder / "weights.bin"
    weights.write_bytes(_identity())
    _with_model(stage, _outside(str(weights)))


def weights_beside(stage: Stage) -> None:
    """The same, by a name relative to wherever the agent was started: this folder."""
    name = "attack-weights.bin"
    Path(name).write_bytes(_identity())
    stage.later(Path(name).unlink)
    _with_model(stage, _outside(name))


def _identity() -> bytes:
    """Weights that change nothing, so that golden windows hold: for now."""
    return np.eye(spec().shape[1], dtype="<f4").tobytes()


def _outside(location: str) -> bytes:
    """The sound graph, its features first multiplied by a matrix in another file."""
    width = spec().shape[1]
    model = onnx.load_model_from_string(graph(width))
    tensor = onnx.TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[width, width])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    model.graph.initializer.append(tensor)
    model.graph.node[0].input[0] = "seen"
    model.graph.node.insert(0, helper.make_node("MatMul", ["features", "weight"], ["seen"]))
    return bytes(model.SerializeToString())


def foreign_operator(stage: Stage) -> None:
    """An operator that only a library of the thief's would know."""
    model = onnx.load_model_from_string(
        _added([helper.make_node("Run", ["milli"], ["extra"], domain="evil")], [])
    )
    model.opset_import.append(helper.make_opsetid("evil", 1))
    _with_model(stage, bytes(model.SerializeToString()))


def other_shape(stage: Stage) -> None:
    """Two RULs where three are read: the golden windows say the same, so they hold."""
    _shaped(stage, "rul", 2)


def flood(stage: Stage) -> None:
    """A million scores for one window: each would go on the record."""
    _shaped(stage, "ood_score", 1_000_000)


def _shaped(stage: Stage, output: str, width: int) -> None:
    """An output of another width, golden windows and all."""
    model = onnx.load_model_from_string(graph(spec().shape[1]))
    node = next(node for node in model.graph.node if node.output[0] == output)
    node.output[0] = "before"
    constants = [numpy_helper.from_array(np.array([1, width], np.int64), "wide")]
    if output == "rul":
        constants = [
            numpy_helper.from_array(np.array(v, np.int64), n)
            for n, v in (("from", [0]), ("to", [width]), ("axis", [1]))
        ]
        model.graph.node.append(helper.make_node("Slice", ["before", "from", "to", "axis"], [output]))
    else:
        model.graph.node.append(helper.make_node("Expand", ["before", "wide"], [output]))
    model.graph.initializer.extend(constants)
    del model.graph.output[:]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in OUTPUTS
    )
    data = bytes(model.SerializeToString())
    manifest, _ = make_release(version=next(stage.versions))
    [golden] = manifest.golden
    numbers = golden.outputs["rul"][:width] if output == "rul" else [0.0] * width
    said = golden.model_copy(update={"outputs": golden.outputs | {output: numbers}})
    changes = {"golden": [said], "sha256": hashlib.sha256(data).hexdigest()}
    _taken(stage, manifest.model_copy(update=changes), data)


def two_faced(stage: Stage) -> None:
    """Right on the golden windows, wrong on what a plant really shows."""
    model = onnx.load_model_from_string(graph(spec().shape[1]))
    rul = next(node for node in model.graph.node if node.output[0] == "rul")
    rul.output[0] = "honest_rul"
    limit, million = np.array([LIVE_FEATURE_MIN], np.float32), np.array([1e6], np.float32)
    model.graph.initializer.extend(
        [numpy_helper.from_array(limit, "limit"), numpy_helper.from_array(million, "million")]
    )
    model.graph.node.extend(
        [
            helper.make_node("Sub", ["mean", "limit"], ["over"]),
            helper.make_node("Relu", ["over"], ["live"]),
            helper.make_node("Mul", ["live", "million"], ["lie"]),
            helper.make_node("Add", ["honest_rul", "lie"], ["rul"]),
        ]
    )
    _with_model(stage, bytes(model.SerializeToString()))


ATTACKS = [
    Attack("manifest of another folder", APPROVED, "manifest", manifest_with(version=99_999)),
    Attack("model that is not its manifest's", APPROVED, "sha256", manifest_with(sha256="0" * 64)),
    Attack("NaN as a threshold", APPROVED, "manifest", manifest_with(anomaly_threshold=float("nan"))),
    Attack("infinity as a threshold", APPROVED, "manifest", manifest_with(ood_threshold=float("inf"))),
    Attack("a field that nobody knows", APPROVED, "manifest", manifest_with(skip_golden=True)),
    Attack("no golden window", APPROVED, "manifest", manifest_with(golden=[])),
    Attack("manifest with a key twice", APPROVED, "manifest", duplicate_keys),
    Attack("features of another component type", APPROVED, "manifest", neighbours_spec),
    Attack("another feature code", APPROVED, "feature spec", other_feature_code),
    Attack("needs a newer agent", APPROVED, "agent version", manifest_with(oldest_agent_version="99.0")),
    Attack(
        "needs an agent of no version",
        APPROVED,
        "agent version",
        manifest_with(oldest_agent_version="newest"),
    ),
    Attack("answers other than validated", APPROVED, "golden window", other_answers),
    Attack("golden window that expects nothing", APPROVED, "golden window", no_answers),
    Attack("golden window of a wrong size", APPROVED, "golden window", short_window),
    Attack("right on golden windows, wrong on the plant", APPROVED, "health: shift", two_faced),
    Attack("no ONNX at all", APPROVED, "model format", garbage),
    Attack("an operator of the thief's own", APPROVED, "model format", foreign_operator),
    Attack("graph nested 2,000 deep", APPROVED, "model format", nested),
    Attack("weights outside, absolute path", APPROVED, "model format", weights_outside),
    Attack("weights outside, beside the agent", APPROVED, "model format", weights_beside),
    Attack("two numbers for a RUL", APPROVED, "golden window", other_shape),
    Attack("a million numbers for a score", APPROVED, "golden window", flood),
    Attack("zip bomb: 1.5 GiB at load", APPROVED, "golden window", bomb),
    Attack("zip bomb: 1.5 GiB at run", APPROVED, "golden window", bomb_at_run),
    Attack("a loop without end", APPROVED, "model load", endless_loop),
]
