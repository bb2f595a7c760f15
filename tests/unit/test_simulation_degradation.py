"""The decay laws: what their sources say of them, and where they end."""

import numpy as np
import pytest
from scipy import stats

from edge_agent.simulation.degradation import (
    BLOCK_CYCLES,
    CRACK_RATIO,
    LOOK_AHEAD_CYCLES_MAX,
    PASSAGE_CYCLES_MAX,
    CurvePath,
    Exponential,
    Gamma,
    Linear,
    Paris,
    RandomPath,
    Shocks,
    Weibull,
    Wiener,
    path_of,
)
from shared.reactor_config import DECAY_FIELDS, parse_fleet

UNITS = 2_000
LAWS = list(DECAY_FIELDS)


def component(**fields):
    fleet = parse_fleet({"TX01": {"R1": {"coolant_pump": fields}}}, "test")
    return next(iter(fleet.components().values()))


def lives(process, threshold=0.3, units=UNITS):
    return np.array([RandomPath(process, (5, unit)).failure_cycle(threshold) for unit in range(units)])


def test_weibull_performance_is_the_survival_function():
    """At the scale 1/e is left, whatever the shape (Weibull 1951)."""
    for shape in (0.7, 1.0, 2.5):
        path = CurvePath(Weibull(200.0, shape))
        assert path.performance(200, 1)[0] == pytest.approx(np.exp(-1))
        expected = stats.weibull_min.sf(np.arange(400), shape, scale=200.0)
        assert path.performance(0, 400) == pytest.approx(expected)


def test_weibull_goes_on_at_the_age_its_performance_tells():
    """A unit that lost nothing more goes on as before (Kijima's virtual age)."""
    path = CurvePath(Weibull(200.0, 2.5))
    assert path.changed(90, 0.0, 1.0).performance(90, 300) == pytest.approx(path.performance(90, 300))


def test_crack_grows_by_the_paris_law():
    """du/dN = growth u^(m/2), by differences of the length that performance tells."""
    length = 1.0 + (1.0 - CurvePath(Paris(0.004, 3.0)).performance(0, 330)) * (CRACK_RATIO - 1.0)
    assert length[-1] < CRACK_RATIO
    rate, middle = np.diff(length), (length[1:] + length[:-1]) / 2.0
    assert rate == pytest.approx(0.004 * middle**1.5, rel=1e-3)


def test_crack_goes_on_from_the_length_its_performance_tells():
    """A path cut in two is the same path; past the critical length nothing is left."""
    path = CurvePath(Paris(0.004, 4.0))
    assert path.changed(150, 0.0, 1.0).performance(150, 300) == pytest.approx(path.performance(150, 300))
    assert path.performance(10_000, 2).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("curve", [Exponential(0.01), Linear(0.002), Weibull(90.0, 2.0), Paris(0.004, 3.0)])
def test_closed_form_does_not_rise_and_wears_faster_as_told(curve):
    """Twice the rate reaches in n cycles what the law reaches in 2 n."""
    slow, fast = CurvePath(curve), CurvePath(curve.faster(2.0))
    assert (np.diff(slow.performance(0, 2_000)) <= 0.0).all()
    assert fast.performance(0, 300) == pytest.approx(slow.performance(0, 600)[::2])


def test_wiener_lives_are_inverse_gaussian():
    """Mean and variance of the first passage through w: w/drift and w volatility^2/drift^3 (Si et al. 2011).

    Seen in whole cycles the path passes late, by about 0.58 standard deviations of a step.
    """
    found = lives(Wiener(0.005, 0.02))
    late = 0.5826 * 0.02 / 0.005
    assert found.mean() == pytest.approx(0.7 / 0.005 + late, rel=0.03)
    assert found.var() == pytest.approx(0.7 * 0.02**2 / 0.005**3, rel=0.12)


def test_wiener_units_have_drifts_of_their_own():
    """The spread of drifts is that of the configuration, and none is below a tenth of the mean."""
    config = component(decay_type="wiener", drift=0.004, drift_spread=0.2, volatility=1e-9)
    losses = [
        1.0 - path_of(config, 1.0, np.random.default_rng(unit), (1, unit)).performance(100, 1)[0]
        for unit in range(500)
    ]
    assert np.mean(losses) == pytest.approx(0.4, rel=0.03)
    assert np.std(losses) / np.mean(losses) == pytest.approx(0.2, rel=0.1)
    assert np.min(losses) >= 0.0399


def test_gamma_losses_have_the_mean_and_variance_asked_for_and_never_heal():
    """After n cycles the loss is gamma with mean n drift and variance n volatility^2 (van Noortwijk 2009)."""
    process = Gamma.of(0.002, 0.005)
    paths = np.array([RandomPath(process, (9, unit)).performance(0, 101) for unit in range(UNITS)])
    assert (np.diff(paths, axis=1) <= 0.0).all()
    lost = 1.0 - paths[:, 100]
    assert lost.mean() == pytest.approx(0.2, rel=0.02)
    assert lost.std() == pytest.approx(0.05, rel=0.05)
    assert stats.kstest(lost, stats.gamma(100 * process.shape, scale=process.size).cdf).pvalue > 0.01


def test_shocks_come_at_geometric_gaps_and_have_one_size():
    """Gaps average 1/rate cycles; every loss is one step."""
    values = RandomPath(Shocks(1 / 20, 1e-5), (3,)).performance(0, 100_000)
    steps = -np.diff(values)
    shocks = np.flatnonzero(steps > 0.5e-5)
    assert steps[shocks] == pytest.approx(1e-5)
    assert np.diff(shocks).mean() == pytest.approx(20, rel=0.05)


@pytest.mark.parametrize("process", [Wiener(0.004, 0.01), Gamma.of(0.004, 0.01), Shocks(0.02, 0.1)])
def test_random_law_wears_faster_in_the_mean_as_told(process):
    """Three times the rate, a third of the life."""
    assert lives(process.faster(3.0)).mean() == pytest.approx(lives(process).mean() / 3.0, rel=0.06)


def test_random_path_is_the_same_backwards_and_wherever_it_is_entered():
    """Blocks drawn again, and those drawn after a look ahead, have the same bits."""
    process = Gamma.of(1e-5, 1e-4)
    whole = RandomPath(process, (7,)).performance(0, 5_000)
    jumping = RandomPath(process, (7,))
    jumping.failure_cycle(0.5)
    for first in (4_000, 0, 2_047, 1_023):
        assert np.array_equal(jumping.performance(first, 3), whole[first : first + 3])


def test_blocks_of_a_random_path_join_and_are_drawn_apart():
    """A path that never heals does not at a block's start either, and no block repeats another's losses."""
    values = RandomPath(Gamma.of(1e-5, 1e-4), (7,)).performance(0, 4 * BLOCK_CYCLES)
    losses = -np.diff(values, append=np.nan).reshape(4, BLOCK_CYCLES)
    assert np.nanmin(losses) >= 0.0
    assert 0.5 < values[-1] / (1.0 - 4e-5 * BLOCK_CYCLES) < 1.5
    for one in range(4):
        for other in range(one):
            assert abs(np.corrcoef(losses[one][:-1], losses[other][:-1])[0, 1]) < 0.2


def test_look_ahead_ends_where_the_path_does():
    """A unit that would live longer than anyone looks ends there, state and label alike."""
    path = RandomPath(Shocks(1e-12, 0.1), (7,))
    assert path.failure_cycle(0.3) == LOOK_AHEAD_CYCLES_MAX
    assert path.performance(LOOK_AHEAD_CYCLES_MAX - 1, 2).tolist() == [1.0, 0.0]
    assert CurvePath(Exponential(1e-30)).failure_cycle(0.3) == PASSAGE_CYCLES_MAX


@pytest.mark.parametrize("law", LAWS)
def test_default_of_each_law_lives_a_few_hundred_cycles(law):
    """PRD 1.4 simulates 200 cycles: the mean life down to 0.3 lies between 200 and 300."""
    config = component(decay_type=law)
    found = [
        path_of(config, 1.0, np.random.default_rng(unit), (2, unit)).failure_cycle(0.3) for unit in range(200)
    ]
    assert 200 <= np.mean(found) <= 300


@pytest.mark.parametrize("law", LAWS)
def test_dead_unit_can_be_struck_again(law):
    """Losses and accelerations beyond the end leave a number, 0, and no warning."""
    path = path_of(component(decay_type=law), 1.0, np.random.default_rng(1), (1,))
    for cycle in range(20):
        path = path.changed(cycle, 0.25, 100.0)
    assert path.performance(20, 3).tolist() == [0.0, 0.0, 0.0]
    assert path.failure_cycle(0.3) == 19
