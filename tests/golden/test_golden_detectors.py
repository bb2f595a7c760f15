"""Labels of the anomaly detectors: scikit-learn's own, those of training, those of the ONNX form."""

import numpy as np
import pytest

from control_plane.training.anomaly_onnx import detector_to_onnx, run_detector
from tests.support import golden_detectors


@pytest.fixture(scope="module", params=golden_detectors.METHODS)
def learned(request):
    """A method, and its detector."""
    return request.param, golden_detectors.detector(request.param)


def test_training_gives_scikit_learns_golden_labels(learned):
    """Our detector and scikit-learn's estimator, each from the readings, label as the golden file does."""
    method, detector = learned
    expected = golden_detectors.expected()[method]
    assert detector.predict(golden_detectors.points()[1]).tolist() == expected
    assert golden_detectors.by_scikit_learn(method, detector) == expected


def test_the_edges_runtime_gives_the_golden_labels(learned):
    """The exported graph on float32 points, all at once and one by one."""
    method, detector = learned
    judged, expected = golden_detectors.points()[1], golden_detectors.expected()[method]
    model = detector_to_onnx(detector, judged)
    score, label = run_detector(model, judged)
    assert label.tolist() == expected
    np.testing.assert_allclose(score, detector.score(judged), rtol=1e-5)
    assert [bool(run_detector(model, judged[n : n + 1])[1][0]) for n in range(0, len(judged), 37)] == (
        expected[::37]
    )


def test_the_golden_labels_tell_something():
    """Neither all nor nothing is an anomaly, and methods differ."""
    found = golden_detectors.expected()
    for method, labels in found.items():
        assert 0.05 < np.mean(labels) < 0.95, method
    assert len({tuple(labels) for labels in found.values()}) == len(golden_detectors.METHODS)
