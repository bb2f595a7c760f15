"""Metrics over whole trajectories: known values, and what must hold for any calls."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.training.prognostics import (
    alerts,
    alpha_lambda,
    cone_share,
    cumulative_relative_accuracy,
    detection_delay,
    false_alarms,
    inside_cone,
    late_call_rate,
    per_month,
    phm_score,
    picp,
    pinaw,
    prognostic_horizon,
    relative_accuracy,
    worst_bin,
)

LIFE = np.arange(100.0, -1.0, -1.0)  # true RUL of a unit that fails at its last cycle
NEVER_FAILS = np.full(101, np.inf)
LIVES = st.integers(2, 80).map(lambda life: np.arange(life, -1, -1.0))
ERRORS = st.floats(-60, 60).map(lambda value: round(value, 3))


def test_the_truth_itself_is_perfect():
    ends = np.stack([LIFE, LIFE, LIFE], axis=-1)
    assert cone_share(LIFE, LIFE, 0.2) == 1
    assert alpha_lambda(LIFE, LIFE, 0.2, 0.5) == 1
    assert relative_accuracy(LIFE, LIFE, 0.5) == cumulative_relative_accuracy(LIFE, LIFE) == 1
    assert prognostic_horizon(LIFE, LIFE, 0.0) == 100
    assert late_call_rate(LIFE, LIFE, 0.0) == phm_score(LIFE, LIFE) == 0
    assert picp(ends, LIFE) == 1
    assert pinaw(ends, LIFE, 125) == 0


def test_the_cone_is_as_wide_as_alpha_of_the_truth():
    """Saxena et al. 2010: the bounds close in on the failure."""
    assert inside_cone([79, 80, 120, 121], np.full(4, 100.0), 0.2).tolist() == [False, True, True, False]
    assert inside_cone([8.1, 7.9], [10.0, 10.0], 0.2).tolist() == [True, False]


def test_alpha_lambda_looks_half_way_from_the_first_judged_call():
    called = np.where(LIFE == 50, LIFE, 999.0)
    assert alpha_lambda(called, LIFE, 0.2, 0.5) == 1
    assert alpha_lambda(called, LIFE, 0.2, 0.51) == 0
    late_start = np.where(LIFE > 60, np.nan, np.where(LIFE == 30, LIFE, 999.0))
    assert alpha_lambda(late_start, LIFE, 0.2, 0.5) == 1


def test_a_withheld_call_at_lambda_leaves_the_one_before():
    called = np.where(LIFE == 50, np.nan, LIFE)
    assert alpha_lambda(called, LIFE, 0.2, 0.5) == 1


def test_relative_accuracy_of_a_call_that_is_off_by_a_fifth():
    assert relative_accuracy(LIFE * 1.2, LIFE, 0.5) == pytest.approx(0.8)
    assert cumulative_relative_accuracy(LIFE * 0.8, LIFE) == pytest.approx(0.8)


def test_the_prognostic_horizon_begins_after_the_last_call_that_is_off():
    """A lucky hit early on is no horizon."""
    called = LIFE.copy()
    called[LIFE > 40] += 30
    called[LIFE == 70] = 70
    assert prognostic_horizon(called, LIFE, 5.0) == 40


def test_there_is_no_horizon_when_the_last_call_is_off():
    assert prognostic_horizon(LIFE + 6, LIFE, 5.0) == 0


def test_late_is_only_what_promises_more_than_the_margin():
    assert late_call_rate([60.0, 61.0, 40.0, 50.0], np.full(4, 50.0), 10.0) == 0.25


def test_the_score_of_ten_cycles_late_and_thirteen_early():
    """Saxena et al. 2008: both cost e - 1."""
    assert phm_score([60.0], [50.0]) == pytest.approx(np.e - 1)
    assert phm_score([37.0], [50.0]) == pytest.approx(np.e - 1)


def test_coverage_counts_both_ends_and_width_is_of_the_span():
    ends = np.array([[40, 45, 50], [50, 55, 60], [51, 55, 60], [0, 10, 49]], float)
    truth = np.full(4, 50.0)
    assert picp(ends, truth) == 0.5
    assert pinaw(ends, truth, 100.0) == pytest.approx((10 + 10 + 9 + 49) / 400)


def test_the_worst_bin_shows_what_the_mean_hides():
    median = np.repeat([10.0, 90.0], [90, 10])
    ends = np.stack([median - 5, median, median + 5], axis=-1)
    truth = np.where(median < 50, median, median + 20)
    assert picp(ends, truth) == 0.9
    assert worst_bin(ends, truth, 100.0, 2) == 0
    assert worst_bin(ends, truth, 100.0, 2, calls_min=11) == 1


@pytest.mark.parametrize("truth", [NEVER_FAILS, np.full(101, np.nan)])
def test_a_unit_that_never_fails_is_not_judged(truth):
    ends = np.stack([LIFE, LIFE, LIFE], axis=-1)
    assert phm_score(LIFE, truth) == 0
    for value in (
        cone_share(LIFE, truth, 0.2),
        alpha_lambda(LIFE, truth, 0.2, 0.5),
        relative_accuracy(LIFE, truth, 0.5),
        cumulative_relative_accuracy(LIFE, truth),
        prognostic_horizon(LIFE, truth, 5.0),
        late_call_rate(LIFE, truth, 10.0),
        picp(ends, truth),
        pinaw(ends, truth, 125.0),
        worst_bin(ends, truth, 125.0, 5),
    ):
        assert np.isnan(value)


def test_a_unit_without_a_prediction_is_not_judged():
    none = np.full(101, np.nan)
    assert np.isnan(alpha_lambda(none, LIFE, 0.2, 0.5))
    assert np.isnan(prognostic_horizon(none, LIFE, 5.0))
    assert np.isnan(cone_share([], [], 0.2))
    assert phm_score([], []) == 0


def test_calls_and_truths_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"found calls \(3,\) and truths \(2,\)"):
        cone_share([1, 2, 3], [1, 2], 0.2)
    with pytest.raises(ValueError, match=r"needed \(n, 3\) and \(n,\)"):
        picp([1, 2, 3], [1, 2, 3])


def test_an_alert_is_raised_once_until_it_has_been_cleared():
    bad = [0, 1, 0, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1]
    assert alerts(bad, on_delay=2, off_delay=3).tolist() == [4, 14]


def test_the_delay_is_that_of_the_first_alert_after_the_fault():
    cycles = np.arange(9, 30)
    assert detection_delay([2, 8, 12], cycles, 15) == 2
    assert detection_delay([0], cycles, 9) == 0
    assert detection_delay([2], cycles, 15) == np.inf
    assert detection_delay([], cycles, 15) == np.inf


def test_an_alert_is_false_where_the_unit_was_sound():
    sound = np.array([True, True, True, False, False])
    assert false_alarms([0, 2, 3], sound) == 2
    assert false_alarms([], sound) == 0
    assert per_month(2, 1440, 2880) == 4
    assert np.isnan(per_month(0, 0, 2880))


@given(LIVES, ERRORS, st.floats(0, 1), st.floats(0, 30))
def test_wider_bounds_never_judge_worse(life, error, alpha, margin):
    called = life + error
    assert cone_share(called, life, alpha) <= cone_share(called, life, alpha + 0.1)
    assert prognostic_horizon(called, life, margin) <= prognostic_horizon(called, life, margin + 1)
    assert late_call_rate(called, life, margin) >= late_call_rate(called, life, margin + 1)


@given(LIVES, st.floats(0.5, 60))
def test_late_costs_more_than_early_by_as_much(life, error):
    assert phm_score(life + error, life) > phm_score(life - error, life) > 0
    assert late_call_rate(life - error, life, 0.0) == 0


@given(LIVES, ERRORS)
def test_withheld_calls_change_no_share(life, error):
    called = life + error
    withheld = np.append(called, [np.nan, np.inf])
    truth = np.append(life, [5.0, 5.0])
    assert cone_share(withheld, truth, 0.2) == cone_share(called, life, 0.2)
    assert phm_score(withheld, truth) == phm_score(called, life)
    assert prognostic_horizon(withheld, truth, 10.0) == prognostic_horizon(called, life, 10.0)


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 4), st.integers(1, 4))
def test_alerts_are_bad_calls_and_lie_a_clearing_apart(bad, on_delay, off_delay):
    raised = alerts(bad, on_delay, off_delay)
    assert all(bad[at] for at in raised)
    assert (np.diff(raised) >= on_delay + off_delay).all()
