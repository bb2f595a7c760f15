"""The golden labels: what scikit-learn says of the recorded readings of the pump, some of them shifted.

`python -m tests.support.golden_detectors` makes `tests/golden/detectors.json` anew: only after a deliberate
change of a detector.
"""

import json
from collections.abc import Callable

import numpy as np
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from control_plane.training.anomaly import AnomalyDetector
from tests.support import golden

FILE = golden.FOLDER.parent / "detectors.json"
METHODS = ("isolation_forest", "mahalanobis", "pca")  # those that are exported
JUDGED_EVERY = 4  # readings; the others are learned
SHIFTS = (0.0, 1.0, 2.0, 4.0)  # standard deviations, of one tag at a time

Points = np.ndarray


def points() -> tuple[Points, Points]:
    """Learned `(n, T)` and judged `(N, T)`: readings without a gap, float32 as the edge has them."""
    tags = golden.component().tags
    rows = [[each.metrics.get(tag, np.nan) for tag in tags] for each in golden.readings()]
    whole = np.array(rows, np.float32)
    whole = whole[np.isfinite(whole).all(axis=1)]
    is_judged = np.arange(len(whole)) % JUDGED_EVERY == 0
    learned, rest = whole[~is_judged], whole[is_judged]
    steps = np.concatenate([shift * np.diag(learned.std(axis=0)) for shift in SHIFTS])
    judged = (rest[:, np.newaxis] + steps).reshape(-1, len(tags))
    return learned, judged.astype(np.float32)


def detector(method: str) -> AnomalyDetector:
    """Learned from the readings, with a budget that their number resolves."""
    return AnomalyDetector(method, false_alarm_budget=50, margin=1.0).fit(points()[0].astype(np.float64))


def by_scikit_learn(method: str, found: AnomalyDetector) -> list[bool]:
    """Labels of the judged points by scikit-learn's own estimators, at the detector's threshold."""
    learned, judged = (each.astype(np.float64) for each in points())
    own: dict[str, Callable[[], Points]] = {
        "isolation_forest": lambda: -found.model.forest.score_samples(judged),
        "mahalanobis": lambda: np.sqrt(EmpiricalCovariance().fit(learned).mahalanobis(judged)),
        "pca": lambda: _t2_and_q(found, learned, judged),
    }
    return (own[method]() > found.threshold).tolist()


def expected() -> dict[str, list[bool]]:
    """The labels, as committed, by method."""
    return json.loads(FILE.read_text())


def _t2_and_q(found: AnomalyDetector, learned: Points, judged: Points) -> Points:
    scaler = StandardScaler().fit(learned)
    plane = PCA(found.model.inside.shape[1]).fit(scaler.transform(learned))
    there = plane.transform(scaler.transform(judged))
    t2 = (there**2 / plane.explained_variance_).sum(axis=1)
    q = ((scaler.transform(judged) - plane.inverse_transform(there)) ** 2).sum(axis=1)
    return np.sqrt(np.maximum(t2 / found.model.t2_limit, q / found.model.q_limit))


if __name__ == "__main__":
    labels = {method: by_scikit_learn(method, detector(method)) for method in METHODS}
    FILE.write_text(json.dumps(labels) + "\n")
