"""The line and the trees: what they find on wear that is plain to see, and what they may not see."""

import numpy as np
import pytest

from control_plane.training.baselines import TREND_CYCLES, GradientBoosting, LinearDegradation
from control_plane.training.histories import Unit, windows
from shared.features import FeatureSpec

TAGS = ("flow", "load")
HORIZON = 80.0


def unit(life, seed, noise=0.02, spare=0):
    """Flow falls from 10 in proportion to life, and goes with a load that has nothing to do with wear."""
    chance = np.random.default_rng(seed)
    rul = np.arange(life, spare - 1, -1, dtype=np.float32)
    load = chance.uniform(0.5, 1.0, len(rul))
    flow = load * (6 + 4 * rul / life) + noise * chance.standard_normal(len(rul))
    values = np.stack([flow, load], axis=-1).astype(np.float32)
    return Unit(f"{life}-{seed}", values, rul, rul > life / 2)


UNITS = [unit(life, life) for life in (60, 80, 100, 120, 150, 200)]
HELD_OUT = unit(140, 999)


@pytest.fixture(scope="module")
def line():
    return LinearDegradation(TAGS, "pump", HORIZON).fit(UNITS, stride=2)


@pytest.fixture(scope="module")
def trees():
    spec = FeatureSpec(component_type="pump", tags=TAGS)
    return GradientBoosting(spec, HORIZON, coverage=0.9, seed=0).fit(UNITS, stride=2)


def test_the_line_tells_wear_from_load(line):
    health = line.indicate(HELD_OUT.values)
    assert np.abs(health - HELD_OUT.rul / 140).max() < 0.1


def test_the_line_reaches_failure_when_the_unit_does(line):
    raw, ends = windows(HELD_OUT, line.spec)
    low, median, high = line.predict(raw).T
    truth = np.minimum(HELD_OUT.rul[ends], HORIZON)
    late = ends > 60
    assert np.abs(median - truth)[late].max() < 6
    assert ((low <= median) & (median <= high)).all()


def test_a_unit_that_does_not_wear_is_beyond_the_horizon(line):
    still = unit(100, 1)
    flat = Unit("flat", np.tile(still.values[:1], (50, 1)), None, np.ones(50, bool))
    assert line.predict(windows(flat, line.spec)[0])[:, 1].tolist() == [HORIZON] * 41


def test_a_step_away_from_the_line_scores(line):
    struck = Unit("struck", HELD_OUT.values.copy(), HELD_OUT.rul, HELD_OUT.normal)
    struck.values[60:, 0] -= 1.0
    sound, found = (line.score(windows(each, line.spec)[0]) for each in (HELD_OUT, struck))
    at = 62 - 9
    assert found[at] > 3 * sound[:at].max()


def test_lost_tags_give_a_number_and_lost_rows_give_none(line):
    values = HELD_OUT.values.copy()
    values[:100] = np.nan
    values[100, 0] = np.nan
    assert np.isnan(line.indicate(values)[:100]).all()
    assert np.isfinite(line.indicate(values)[100:]).all()
    gone = np.full((2, TREND_CYCLES, 2), np.nan, np.float32)
    assert np.isfinite(line.predict(gone)).all()


def test_a_line_without_a_failed_unit_is_refused():
    alive = [unit(100, 1, spare=20)]
    with pytest.raises(ValueError, match="none of 1 training units failed"):
        LinearDegradation(TAGS, "pump", HORIZON).fit(alive, stride=1)


def test_trees_learn_from_the_networks_features(trees):
    raw, ends = windows(HELD_OUT, trees.spec)
    found = trees.predict(raw)
    truth = np.minimum(HELD_OUT.rul[ends], HORIZON)
    assert np.abs(found[:, 1] - truth).mean() < 10
    assert (np.diff(found, axis=1) >= 0).all()
    assert found.min() >= 0
    assert found.max() <= HORIZON


def test_the_forest_isolates_what_was_never_normal(trees):
    raw, _ = windows(HELD_OUT, trees.spec)
    strange = raw + np.float32(20)
    assert trees.score(strange).min() > np.median(trees.score(raw[:40]))


@pytest.mark.parametrize("method", ["line", "trees"])
def test_no_call_sees_what_comes_after_it(method, request):
    """A prefix of a life gets the same calls as the whole of it."""
    found = request.getfixturevalue(method)
    part = Unit("part", HELD_OUT.values[:70], HELD_OUT.rul[:70], HELD_OUT.normal[:70])
    whole, prefix = (windows(each, found.spec)[0] for each in (HELD_OUT, part))
    np.testing.assert_allclose(found.predict(whole)[: len(prefix)], found.predict(prefix), rtol=1e-5)
    np.testing.assert_allclose(found.score(whole)[: len(prefix)], found.score(prefix), rtol=1e-5, atol=1e-6)
