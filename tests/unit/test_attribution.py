"""Which tags a RUL hangs on: the edge's cheap answer beside integrated gradients, for a trained LSTM."""

from functools import cache

import numpy as np
import pytest

from control_plane.training.attribution import Effects, effects, importance
from control_plane.training.histories import Unit
from shared.contributions import contributions
from shared.errors import Untrusted
from shared.normal import normal_window
from shared.onnx_model import OnnxModel
from tests.support import golden
from tests.support.releases import make_release

OVERLAP_MIN = 0.9  # of the top three tags, over the golden windows; 0.98 when it was measured


@cache
def readings() -> np.ndarray:
    """The golden windows `(N, W, T)`."""
    manifest, _ = golden.release()
    return np.stack([window.values for window in golden.windows_at_the_edge(manifest)])


@cache
def found() -> Effects:
    """Integrated gradients of the golden windows."""
    return effects(golden.torchscript(), golden.release()[0], readings())


def unit() -> Unit:
    """The golden readings, one row each, as a unit."""
    tags = golden.release()[0].feature_spec.tags
    rows = [[each.metrics.get(tag, np.nan) for tag in tags] for each in golden.readings()]
    return Unit("golden", np.array(rows, np.float32), None, np.ones(len(rows), bool))


def test_effects_sum_to_what_the_rul_differs_from_normal():
    """Completeness, against the released bytes: to a millionth of the horizon."""
    manifest, model = golden.release()
    ours = OnnxModel(manifest, model)
    usual = np.stack([normal_window(each, manifest) for each in readings()])
    moved = (ours.run(readings())["rul"] - ours.run(usual)["rul"])[:, 1]
    assert found().incompleteness < 1e-6
    np.testing.assert_allclose(found().cycles.sum(axis=1), moved, rtol=0, atol=1e-6 * golden.HORIZON + 1e-4)


def test_the_edges_reasons_are_those_of_integrated_gradients():
    """The same top three tags, with the same sign and nearly the same cycles."""
    manifest, model = golden.release()
    ours, tags = OnnxModel(manifest, model), manifest.feature_spec.tags
    overlap, ratio = [], []
    for values, exact in zip(readings(), found().cycles, strict=True):
        cheap = {each.tag: each.effect for each in contributions(ours, values, "rul")}
        top = [tags[at] for at in np.argsort(-np.abs(exact))[:3]]
        overlap.append(len(cheap.keys() & set(top)) / 3)
        ratio += [effect / exact[tags.index(tag)] for tag, effect in cheap.items() if tag in top]
    assert np.mean(overlap) >= OVERLAP_MIN
    assert min(ratio) > 0
    assert np.median(np.abs(np.log(ratio))) < np.log(1.2)


def test_importance_is_the_mean_effect_of_every_tag():
    """Most first, in cycles; the tags that the golden pump's reasons name lead."""
    manifest, model = golden.release()
    told = importance(golden.torchscript(), model, manifest, [unit()]).cycles
    assert told.keys() == set(manifest.feature_spec.tags)
    assert list(told.values()) == sorted(told.values(), reverse=True)
    assert {"pressure_drop", "bearing_temperature"} <= set(list(told)[:3])


def test_a_torchscript_form_that_answers_otherwise_is_untrusted():
    """Importance of another network would be told as this one's."""
    manifest, _ = golden.release()
    other = make_release(bias=1.0, feature_spec=manifest.feature_spec)[1]
    changed = manifest.model_copy(update={"outputs": ["rul", "anomaly_score", "ood_score"]})
    with pytest.raises(Untrusted, match=r"model\.pt is off from model\.onnx"):
        importance(golden.torchscript(), other, changed, [unit()])
