"""The soft gates of PRD 7.3, and what no model passes."""

import hashlib

import onnx
import pytest
from onnx import TensorProto, helper

from control_plane.release.gates import (
    check_candidate,
    check_release,
    validate_feature_schema,
    verify_model_registration,
)  # fmt: skip
from shared.errors import Rejected, Retryable, Untrusted
from tests.support.releases import graph, make_release, spec, write_release

URI = "models:/coolant_pump/1"


class Catalogue:
    """A registry with one version, or one that fails."""

    def __init__(self, manifest, failure=None):
        self.manifest, self.failure = manifest, failure

    def load_model(self, model_uri):
        if self.failure:
            raise self.failure
        return b"", self.manifest


def test_a_model_made_for_these_features_passes():
    manifest, model = make_release()
    assert validate_feature_schema(manifest, spec(), model).passed


@pytest.mark.parametrize(
    ("changes", "asked", "message"),
    [
        ({"feature_spec_hash": "0" * 64}, {}, "not that of the feature spec"),
        ({}, {"tags": ("flow", "speed")}, "are read"),
        ({}, {"window_cycles": 20}, "differs from the one that is computed"),
    ],
)
def test_a_model_of_other_features_fails_with_the_reason(changes, asked, message):
    """Hash, tags, order and window: each is told apart."""
    manifest, _ = make_release(**changes)
    found = validate_feature_schema(manifest, spec().model_copy(update=asked))
    assert not found.passed
    assert message in found.reason


def test_a_graph_of_another_width_fails():
    manifest, _ = make_release()
    found = validate_feature_schema(manifest, spec(), graph(spec().shape[1] + 1))
    assert f"the graph takes {spec().shape[1] + 1} features a row" in found.reason


def test_a_registered_version_passes():
    manifest, _ = make_release()
    assert verify_model_registration(URI, manifest, Catalogue(manifest)).passed


@pytest.mark.parametrize(
    ("registry", "message"),
    [
        (None, "no registry to ask"),
        (Catalogue(None, Rejected("is not registered; it has the versions 1")), "is not registered"),
        (Catalogue(None, Retryable("MLflow does not answer")), "does not answer"),
        (Catalogue(None, Untrusted("model digest", "other bytes")), "model digest"),
        (Catalogue(make_release(bias=1.0)[0]), "registered with sha256"),
        (Catalogue(make_release(version=2)[0]), "registered with version 2, not 1"),
        (Catalogue(make_release(feature_spec_hash="1" * 64)[0]), "registered with feature_spec_hash"),
    ],
)
def test_what_is_not_the_registered_version_fails_with_the_reason(registry, message):
    """Versions in MLflow can be changed: name, version, bytes and features must all be the same."""
    found = verify_model_registration(URI, make_release()[0], registry)
    assert not found.passed
    assert message in found.reason


def test_a_model_that_fails_its_own_golden_windows_is_found(tmp_path):
    manifest, model = make_release()
    folder = write_release(tmp_path, manifest, model)
    check_candidate(folder)
    for outputs in ({"rul": [1e9, 1e9, 1e9]}, {"rul": [1.0]}, {}):
        golden = manifest.golden[0].model_copy(update={"outputs": manifest.golden[0].outputs | outputs})
        if not outputs:
            golden = golden.model_copy(update={"outputs": {}})
        write_release(tmp_path, manifest.model_copy(update={"golden": [golden]}), model)
        with pytest.raises(Untrusted, match="golden window"):
            check_candidate(folder)


def test_weights_outside_are_found_in_a_subgraph_too(tmp_path):
    """A signature over model.onnx covers no byte of another file, wherever the graph hides its name."""
    manifest, model = make_release()
    parsed = onnx.load_model_from_string(model)
    hidden = helper.make_tensor("hidden", TensorProto.FLOAT, [1], b"\0\0\x80?", raw=True)
    onnx.external_data_helper.set_external_data(hidden, location="weights.bin")
    hidden.data_location = TensorProto.EXTERNAL
    constant = helper.make_node("Constant", [], ["inner"], value=hidden)
    branch = helper.make_graph([constant], "branch", [], [])
    parsed.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))
    changed = parsed.SerializeToString()
    manifest = manifest.model_copy(update={"sha256": hashlib.sha256(changed).hexdigest()})
    with pytest.raises(Rejected, match=r"weights \['hidden'"):
        check_release(write_release(tmp_path, manifest, changed))


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (b"no model at all", {}, "no ONNX model"),
        (b"", {"outputs": ["anomaly_score"]}, "lacks the outputs|no ONNX model"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, model, changes, message):
    manifest, _ = make_release()
    manifest = manifest.model_copy(update={"sha256": hashlib.sha256(model).hexdigest()} | changes)
    with pytest.raises(Rejected, match=message):
        check_release(write_release(tmp_path, manifest, model))


def test_a_model_longer_than_a_site_takes_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr("control_plane.release.gates.MODEL_BYTES_MAX", 100)
    with pytest.raises(Rejected, match="longer than 100 bytes"):
        check_release(write_release(tmp_path, *make_release()))
