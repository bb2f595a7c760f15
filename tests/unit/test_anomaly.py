"""The anomaly detector: what it learns from, what it says, what it refuses, and its ONNX form."""

import numpy as np
import pandas as pd
import pytest

from control_plane.training import anomaly_models, anomaly_onnx
from control_plane.training.anomaly import AnomalyDetector, monthly_budget
from control_plane.training.anomaly_curves import curves, plot_curves
from control_plane.training.anomaly_models import Mahalanobis, PrincipalComponents
from control_plane.training.anomaly_onnx import detector_to_onnx, run_detector

METHODS = ("mahalanobis", "pca", "isolation_forest", "lof")
EXPORTED = METHODS[:3]
RNG = np.random.default_rng(7)
MIX = RNG.normal(size=(4, 4))
NORMAL = RNG.normal(size=(1500, 4)) @ MIX + 20.0
FRESH = RNG.normal(size=(2000, 4)) @ MIX + 20.0
SHIFTED = FRESH[:300] + 8 * NORMAL.std(axis=0)
GOLDEN = np.vstack([FRESH[:500], SHIFTED[:100], NORMAL[:1001]]).astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
def test_a_shift_is_found_within_the_budget(method):
    detector = AnomalyDetector(method, false_alarm_budget=20, margin=1.0).fit(NORMAL)
    assert detector.predict(SHIFTED).mean() > 0.98
    assert 0.005 < detector.predict(FRESH).mean() < 0.045
    assert detector.budget_resolved


@pytest.mark.parametrize("method", METHODS)
def test_a_table_is_scored_by_its_columns_names(method):
    table = pd.DataFrame(NORMAL, columns=list("abcd"))
    detector = AnomalyDetector(method).fit(table)
    shuffled = pd.DataFrame(FRESH, columns=list("abcd"))[list("dbca")].assign(more=0.0)
    np.testing.assert_array_equal(detector.score(shuffled), detector.score(FRESH))


def test_the_threshold_is_the_budget_s_quantile_times_the_margin():
    detector = AnomalyDetector().fit(NORMAL, FRESH)
    expected = 4 / 3 * np.quantile(detector.score(FRESH), 0.999)
    assert detector.threshold == pytest.approx(expected, rel=1e-3)
    assert detector.calibrate(FRESH, 100).threshold < expected
    detector.threshold = 0.0
    assert detector.predict(FRESH).all()


def test_a_budget_finer_than_the_calibration_is_said_to_be_unresolved():
    assert not AnomalyDetector(false_alarm_budget=1).fit(NORMAL[:500]).budget_resolved


def test_a_monthly_budget_is_one_per_thousand_cycles():
    """One alarm a month at a cycle a minute is one in 43,834 cycles."""
    assert monthly_budget(1, 60) == pytest.approx(1000 / 43_833.6)
    with pytest.raises(ValueError, match="above 0"):
        monthly_budget(0, 60)


@pytest.mark.parametrize("label", ["anomaly", "changepoint", "true_RUL", "fault", "performance"])
def test_a_label_among_the_columns_is_refused(label):
    table = pd.DataFrame(NORMAL, columns=list("abcd")).assign(**{label: 0.0})
    with pytest.raises(ValueError, match=f"column '{label}' is a label"):
        AnomalyDetector().fit(table)


def test_points_marked_not_normal_are_refused():
    marks = np.ones(len(NORMAL), bool)
    AnomalyDetector().fit(NORMAL, is_normal=marks)
    marks[[3, 9]] = False
    with pytest.raises(ValueError, match="2 of 1500 points are marked not normal; give only normal ones"):
        AnomalyDetector().fit(NORMAL, is_normal=marks)
    with pytest.raises(ValueError, match="there are 1500 points"):
        AnomalyDetector().fit(NORMAL, is_normal=marks[:10])


def test_what_cannot_be_learned_or_judged_is_refused_with_its_place():
    table = pd.DataFrame(NORMAL, columns=list("abcd"))
    detector = AnomalyDetector().fit(table)
    with pytest.raises(ValueError, match="row 5, column 'c' is nan"):
        AnomalyDetector().fit(table.assign(c=table["c"].where(table.index != 5)))
    with pytest.raises(ValueError, match="column 'b' is missing; the table has a, c, d"):
        detector.score(table.drop(columns="b"))
    with pytest.raises(ValueError, match="column 'b' holds str"):
        detector.score(table.assign(b="x"))
    with pytest.raises(ValueError, match="3 dimensions; the detector learned 4"):
        detector.score(NORMAL[:, :3])
    with pytest.raises(ValueError, match="4 normal points of 4 dimensions; more are needed"):
        AnomalyDetector().fit(NORMAL[:4])
    with pytest.raises(ValueError, match=r"shape \(4,\); \(N, D\) is right"):
        detector.score(NORMAL[0])
    with pytest.raises(ValueError, match="between 0 and 1,000"):
        AnomalyDetector(false_alarm_budget=0)
    with pytest.raises(ValueError, match="are for the method mahalanobis; found pca"):
        AnomalyDetector("pca", drift_rows=3)
    with pytest.raises(ValueError, match="'forest'; mahalanobis, pca, isolation_forest and lof are known"):
        AnomalyDetector("forest")


def test_t2_and_q_tell_a_shift_within_the_plane_from_one_off_it():
    """Two tags that go together: both up is T2's business, one up and one down is Q's."""
    rng = np.random.default_rng(12)
    points = rng.normal(size=(2000, 1)) + 0.1 * rng.normal(size=(2000, 2))
    model = PrincipalComponents().fit(points, 0.999)
    t2, q = model.statistics(np.array([[6.0, 6.0], [1.0, -1.0]]))
    assert t2[0] > model.t2_limit > t2[1]
    assert q[1] > model.q_limit > q[0]
    assert (model.score(np.array([[6.0, 6.0], [1.0, -1.0], [0.0, 0.0]])) > 1).tolist() == [True, True, False]


@pytest.mark.parametrize("method", ["mahalanobis", "pca"])
def test_a_tag_in_a_small_unit_counts_as_much_as_another(method):
    """Millimetres or kilometres: the score does not move."""
    unit = np.array([1e-4, 1.0, 1e4, 1.0])
    one, two = AnomalyDetector(method).fit(NORMAL), AnomalyDetector(method).fit(NORMAL * unit)
    np.testing.assert_allclose(one.score(FRESH), two.score(FRESH * unit), rtol=1e-6)


@pytest.mark.parametrize("method", ["mahalanobis", "pca"])
def test_a_tag_that_never_moved_raises_an_alarm_when_it_does(method):
    stuck = NORMAL.copy()
    stuck[:, 1] = 0.1
    detector = AnomalyDetector(method).fit(stuck)
    assert not detector.predict(stuck).any()
    stuck[0, 1] = 0.2
    assert detector.predict(stuck[:1]).all()


def test_only_a_tag_that_wanders_is_given_room_to_wander():
    rows = np.random.default_rng(11).normal(size=(2000, 2))
    rows[:, 0] = 0.1 * np.cumsum(rows[:, 0])
    strict, roomy = Mahalanobis().fit(rows, 0.999), Mahalanobis(drift_rows=400).fit(rows, 0.999)
    away = np.diag(rows.std(axis=0)) * 5 + rows.mean(axis=0)
    assert roomy.score(away)[0] < 0.8 * strict.score(away)[0]
    assert roomy.score(away)[1] == pytest.approx(strict.score(away)[1], rel=0.1)


def test_full_shrinkage_forgets_what_tags_have_in_common():
    whitening = Mahalanobis(shrinkage=1.0).fit(NORMAL, 0.999).whitening
    np.testing.assert_allclose(whitening, np.diag(1 / NORMAL.std(axis=0)), rtol=1e-5)


@pytest.fixture(scope="module", params=EXPORTED)
def exported(request) -> tuple[AnomalyDetector, bytes]:
    """With 1,001 points the quantile of 1 in 1,000 is one of the scores: the threshold steps aside.

    A forest of all its trees, which takes many seconds to convert, is among the golden detectors.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anomaly_models, "TREES", 20)
        detector = AnomalyDetector(request.param, margin=1.0).fit(NORMAL[:1001])
    return detector, detector_to_onnx(detector, GOLDEN)


def test_onnx_gives_the_detector_s_own_labels_and_scores(exported):
    detector, model = exported
    score, label = run_detector(model, GOLDEN)
    np.testing.assert_array_equal(label, detector.predict(GOLDEN))
    np.testing.assert_allclose(score, detector.score(GOLDEN), rtol=1e-5)
    assert 95 <= label.sum() < 150
    assert np.abs(detector.score(NORMAL[:1001]) - detector.threshold).min() > 5e-5 * detector.threshold
    if detector.method == "isolation_forest":
        forest = detector.model.forest
        assert forest.offset_ == -0.5  # the export put it back
        forest.offset_ = -detector.threshold
        np.testing.assert_array_equal(label, forest.predict(GOLDEN) == -1)  # scikit-learn's own


def test_onnx_calls_a_missing_value_an_anomaly():
    model = detector_to_onnx(AnomalyDetector().fit(NORMAL), GOLDEN)
    _, label = run_detector(model, np.full((1, 4), np.nan, np.float32))
    assert label.tolist() == [True]


def test_an_export_that_labels_otherwise_is_refused(monkeypatch):
    monkeypatch.setattr(
        anomaly_onnx,
        "run_detector",
        lambda model, points: (np.zeros(len(points)), np.ones(len(points), bool)),
    )
    with pytest.raises(RuntimeError, match="points otherwise"):
        detector_to_onnx(AnomalyDetector().fit(NORMAL), GOLDEN)


def test_the_local_outlier_factor_is_not_exported():
    with pytest.raises(ValueError, match="lof is not exported; isolation_forest, mahalanobis and pca are"):
        detector_to_onnx(AnomalyDetector("lof").fit(NORMAL), GOLDEN)


def test_curves_know_a_perfect_score_from_a_useless_one(tmp_path):
    truth = np.arange(200) >= 150
    assert curves(truth + 0.0, truth).roc_auc == 1.0
    useless = curves(np.tile([0.0, 1.0], 100), truth)
    assert useless.roc_auc == pytest.approx(0.5)
    assert useless.average_precision == pytest.approx(0.25)
    with pytest.raises(ValueError, match="0 of 200 points are anomalous; both kinds are needed"):
        curves(truth + 0.0, truth & False)
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        curves(np.zeros(3), truth)
    plot_curves(tmp_path / "curves.png", np.random.default_rng(0).normal(size=200) + truth, truth, 1.0)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_level_is_the_release_graph_s():
    """The benchmark's smoothing and the shipped graph's are the same for a window that holds every row."""
    import torch

    from control_plane.training.graph import EWMA_WEIGHT, Level
    from control_plane.training.skab import level
    from shared.features import FeatureSpec

    values = np.random.default_rng(13).normal(size=(30, 3))
    present = np.ones_like(values)
    features = np.hstack([values, np.zeros_like(values), present])[np.newaxis]
    shipped, _ = Level(FeatureSpec(component_type="rig", tags=("a", "b", "c")))(
        torch.from_numpy(features.astype(np.float32))
    )
    np.testing.assert_allclose(shipped.numpy()[0], level(values, EWMA_WEIGHT)[-1], rtol=1e-5, atol=1e-6)
    assert shipped.dtype == torch.float64  # a distance magnifies its rounding
