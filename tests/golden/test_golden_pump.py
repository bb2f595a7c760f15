"""Recorded readings to features to scores: one file, held against from the edge and from training."""

import numpy as np

from control_plane.training.export import run_onnx
from control_plane.training.histories import Unit, windows
from edge_agent.scoring import Scorer
from shared.features import window_features
from tests.support import golden


def same(found: dict, expected: dict, tolerance: float) -> None:
    """Outputs agree within what the release allows between machines."""
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=tolerance, err_msg=name)


def test_the_edge_gets_the_golden_features_and_scores():
    manifest, model = golden.release()
    scorer, expected = Scorer.load(manifest, model), golden.expected()
    seen = {}
    for window in golden.windows_at_the_edge(manifest):
        features = window_features(window.values, manifest.feature_spec)
        assert golden.features_sha256(features) == expected[window.cycle]["features_sha256"], window.cycle
        same(scorer.score(window).raw, expected[window.cycle]["raw"], manifest.golden_tolerance)
        seen[window.cycle] = True
    assert seen.keys() == expected.keys()
    assert len(seen) == golden.CYCLES - len(golden.MISSED) - 9  # from the tenth reading on


def test_training_gets_the_same_features_and_scores():
    """A history as a table, missed cycles as empty rows, a batch of every window at once."""
    manifest, model = golden.release()
    spec = manifest.feature_spec
    table = np.full((golden.CYCLES, len(spec.tags)), np.nan, np.float32)
    for reading in golden.readings():
        table[reading.cycle] = [reading.metrics.get(tag, np.nan) for tag in spec.tags]
    raw, ends = windows(Unit("golden", table, None, np.ones(golden.CYCLES, bool)), spec)
    features = window_features(raw, spec)
    outputs = run_onnx(model, features, manifest.outputs)
    expected = golden.expected()
    compared = 0
    for row, cycle in enumerate(ends):
        if int(cycle) in expected:
            wanted = expected[int(cycle)]
            assert golden.features_sha256(features[row]) == wanted["features_sha256"], cycle
            found = {name: np.ravel(values[row]).tolist() for name, values in outputs.items()}
            same(found, wanted["raw"], manifest.golden_tolerance)
            compared += 1
    assert compared == len(expected)
