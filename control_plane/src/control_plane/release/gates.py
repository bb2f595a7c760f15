"""What a release must be before people are asked to approve it, and again where it is served (PRD 7.3)."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import onnx
from google.protobuf.message import DecodeError
from pydantic import ValidationError

from control_plane.audit.centre_log import CentreAct, CentreLog
from shared.errors import Rejected, Retryable, Untrusted
from shared.features import FeatureSpec
from shared.golden import check_golden
from shared.onnx_model import INPUT, OnnxModel
from shared.schemas import Manifest

MODEL_BYTES_MAX = 64 * 1024 * 1024  # as a site's agent takes it: what is larger no site would run
MANIFEST_BYTES_MAX = 8 * 1024 * 1024


class Gate(NamedTuple):
    """What a soft gate found; `reason` says why it failed, or what it held against what."""

    name: str
    passed: bool
    reason: str


class Registry(Protocol):
    """Where registered versions are looked up: `control_plane.registry`'s."""

    def load_model(self, model_uri: str) -> tuple[bytes, Manifest]: ...


def validate_feature_schema(
    manifest: Manifest, feature_spec: FeatureSpec, model: bytes | None = None
) -> Gate:
    """Whether a model was made for these features: hash, tags in order, width of the graph's input."""
    own, problems = manifest.feature_spec, []
    if own.hash() != manifest.feature_spec_hash:
        problems.append("feature_spec_hash is not that of the feature spec")
    if own.tags != feature_spec.tags:
        problems.append(f"its tags are {list(own.tags)}; {list(feature_spec.tags)} are read")
    if feature_spec.hash() != manifest.feature_spec_hash and not problems:
        problems.append("its feature spec differs from the one that is computed")
    width = _input_width(model) if model is not None else None
    if width not in (None, own.shape[1]):
        problems.append(f"the graph takes {width} features a row, the spec makes {own.shape[1]}")
    return Gate(
        "feature schema", not problems, "; ".join(problems) or f"hash {manifest.feature_spec_hash[:12]}"
    )


def verify_model_registration(model_version: str, manifest: Manifest, registry: Registry | None) -> Gate:
    """Whether `models:/NAME/VERSION` is registered with these bytes and this feature spec."""
    if registry is None:
        return _registration(False, f"{model_version}: there is no registry to ask")
    try:
        _, found = registry.load_model(model_version)
    except (Rejected, Retryable, Untrusted) as error:
        return _registration(False, str(error))
    for field in ("name", "version", "sha256", "feature_spec_hash"):
        registered, given = getattr(found, field), getattr(manifest, field)
        if registered != given:
            return _registration(
                False, f"{model_version} is registered with {field} {registered}, not {given}"
            )
    return _registration(True, f"{model_version} has SHA-256 {manifest.sha256[:12]}")


def note_gate(log: CentreLog, release: str, where: str, gate: Gate) -> None:
    """One answer of a soft gate on the centre's record."""
    log.note(
        CentreAct.GATE_DECIDED, release, at=where, gate=gate.name, passed=gate.passed, reason=gate.reason
    )


def check_release(folder: Path) -> Manifest:
    """The manifest of a sound release folder; Rejected names what is wrong."""
    manifest, model = read_release(folder)
    found = hashlib.sha256(model).hexdigest()
    if found != manifest.sha256:
        raise Rejected(f"{folder}: model.onnx has SHA-256 {found}, the manifest says {manifest.sha256}")
    outside = weights_outside(model, folder)
    if outside:
        raise Rejected(
            f"{folder}: the weights {outside[:3]} lie outside model.onnx; a signature would not cover them"
        )
    gate = validate_feature_schema(manifest, manifest.feature_spec, model)
    if not gate.passed:
        raise Rejected(f"{folder}: {gate.reason}")
    missing = {"anomaly_score", "ood_score"} - set(manifest.outputs)
    if missing:
        raise Rejected(f"{folder}: the manifest's signature lacks the outputs {sorted(missing)}")
    return manifest


def check_candidate(folder: Path) -> Manifest:
    """The manifest of a sound release whose model answers its golden windows here, as each site will check
    again; Rejected or Untrusted names what is wrong."""
    manifest = check_release(folder)
    check_golden(OnnxModel(manifest, (folder / "model.onnx").read_bytes()))
    return manifest


def read_release(folder: Path) -> tuple[Manifest, bytes]:
    """Both files of a release folder; Rejected when one is missing, over-long or not what it should be."""
    try:
        manifest = Manifest.model_validate_json(_read(folder / "manifest.json", MANIFEST_BYTES_MAX))
        return manifest, _read(folder / "model.onnx", MODEL_BYTES_MAX)
    except (OSError, ValidationError) as error:
        raise Rejected(f"{folder}: {error}") from error


def weights_outside(model: bytes, folder: Path) -> list[str]:
    """Tensors, in whatever node or subgraph, whose bytes are in another file."""
    try:
        graph = onnx.load_model_from_string(model)
    except DecodeError as error:
        raise Rejected(f"{folder}: model.onnx is no ONNX model: {error}") from error
    return [t.name or "(unnamed)" for t in _tensors(graph) if t.data_location == onnx.TensorProto.EXTERNAL]


def _tensors(message: Any) -> list[onnx.TensorProto]:
    """Every tensor below a protobuf message."""
    found, waiting = [], [message]
    while waiting:
        each = waiting.pop()
        if isinstance(each, onnx.TensorProto):
            found.append(each)
            continue
        for field, value in each.ListFields():
            if field.message_type is not None:
                waiting.extend([value] if hasattr(value, "ListFields") else value)
    return found


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise Rejected(f"{path}: longer than {limit} bytes; no site would take it")
    return data


def _registration(passed: bool, reason: str) -> Gate:
    return Gate("model registration", passed, reason)


def _input_width(model: bytes) -> int | None:
    """Features a row that the graph declares; None where it leaves that open."""
    for tensor in onnx.load_model_from_string(model).graph.input:
        if tensor.name == INPUT:
            return tensor.type.tensor_type.shape.dim[-1].dim_value or None
    return None
