"""What is shipped answers as what was trained: each kind of network, ONNX against torch."""

from functools import cache

import numpy as np
import pytest
import torch

from control_plane.training import export
from control_plane.training.config import TrainingConfig
from control_plane.training.export import PARITY_MAX, output_names, parity, to_onnx
from control_plane.training.fit import Fitted, fit
from control_plane.training.histories import Unit, windows
from shared.features import FeatureSpec, window_features
from shared.onnx_model import OnnxModel
from tests.support.releases import make_release

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # each export takes seconds of a free core

HORIZON = 125.0
TAGS = ("inlet", "outlet", "flow", "current")
SPEC = FeatureSpec(component_type="coolant_pump", tags=TAGS, window_cycles=12)
KINDS = ("lstm", "gru", "conv", "dense", "dense+gru")


@cache
def units() -> list[Unit]:
    """Tags far from zero of which two hang together to a ten-thousandth: what magnifies rounding most."""
    rng = np.random.default_rng(3)
    rul = np.arange(79, -1, -1, dtype=np.float32)
    found = []
    for number in range(5):
        walk = np.cumsum(rng.normal(0, 0.1, (80, 3)), axis=0) + 20 / (rul[:, np.newaxis] + 5)
        close = walk[:, :1] + rng.normal(0, 1e-4, (80, 1))
        offsets = np.array([1e3, 1e3, 10, 300])
        values = np.hstack([walk[:, :1], close, walk[:, 1:]]) + offsets
        values[rng.random(values.shape) < 0.02] = np.nan
        found.append(Unit(f"unit {number}", values.astype(np.float32), rul, rul > 40))
    return found


@cache
def trained(kind: str) -> Fitted:
    config = TrainingConfig(
        model_type=kind, hidden_dim=8, num_layers=2, epochs=12, batch_size=16, learning_rate=0.02,
        stride=2, patience=None, horizon_cycles=HORIZON,
    )  # fmt: skip
    return fit(units()[:3], units()[3:], SPEC, config, lambda line: None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_edges_runtime_answers_as_torch_for_every_kind_of_network(kind):
    """Within 1e-5, the RUL in horizons and the scores relative above one, from raw windows on."""
    fitted = trained(kind)
    raw = np.concatenate([windows(unit, SPEC)[0] for unit in units()])
    names = output_names(fitted)
    manifest = make_release(
        feature_spec=SPEC, feature_spec_hash=SPEC.hash(), outputs=names, horizon_cycles=HORIZON
    )[0]
    found = OnnxModel(manifest, to_onnx(fitted, SPEC, units())).run(raw)
    with torch.no_grad():
        answers = fitted.graph(torch.from_numpy(window_features(raw, SPEC)))
    expected = [answer.numpy() for answer in answers]
    assert max(parity(found, expected, HORIZON).values()) <= PARITY_MAX == 1e-5
    limit = fitted.anomaly_threshold
    assert ((found["anomaly_score"] > limit) == (expected[1] > limit)).all()
    assert 0 < np.mean(expected[1] > limit) < 1
    assert np.ptp(found["rul"][:, 1]) > 0.1  # cycles: it looks at what it is given


def test_an_export_that_answers_otherwise_is_refused(monkeypatch):
    """By a little more than is allowed, in one output."""
    run = export.run_onnx

    def off(model, features, names):
        found = run(model, features, names)
        return found | {"rul": found["rul"] + 2 * PARITY_MAX * HORIZON}

    monkeypatch.setattr(export, "run_onnx", off)
    with pytest.raises(RuntimeError, match=r"ONNX and torch differ by 2e-05 in rul; allowed 1e-05"):
        to_onnx(trained("dense"), SPEC, units())
