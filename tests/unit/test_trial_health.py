"""Whether a release does as well as the one before it: each check on numbers that are its own."""

import math
import random

import pytest

from edge_agent.update import Comparison, HealthLimits
from edge_agent.update.health import Sample

LIMITS = HealthLimits()
WELL = Sample(1.0, False, 0.6)


def compared(judged, other=lambda cycle: WELL, cycles: int = LIMITS.trial_cycles) -> Comparison:
    """One component, cycle by cycle."""
    found = Comparison(1, LIMITS)
    for cycle in range(cycles):
        found.add([("pump", judged(cycle), other(cycle))])
    return found


def failing_since(judged, cycles: int) -> int | None:
    """The cycle at which a check fails first."""
    found = Comparison(1, LIMITS)
    for cycle in range(cycles):
        found.add([("pump", judged(cycle), WELL)])
        if found.failure():
            return cycle
    return None


def test_two_sound_models_differ_and_both_pass():
    """Errors of 13 cycles at a horizon of 125 are those of the best models of C-MAPSS."""
    chance = random.Random(3)

    def sound(cycle: int) -> Sample:
        return Sample(1.0, False, min(1.0, max(0.0, 0.9 - cycle / 300 + chance.gauss(0, 13 / 125))))

    assert compared(sound, sound, 300).failure() is None


@pytest.mark.parametrize(
    ("sick", "check"),
    [
        (Sample(None, False, None), "health: not finite"),
        (Sample(300.0, False, 0.6), "health: latency"),
        (Sample(60.0, False, 0.6), "health: latency"),
        (Sample(1.0, True, 0.6), "health: out of distribution"),
        (Sample(1.0, False, 0.2), "health: shift"),
    ],
)
def test_what_is_unwell_fails_for_its_own_reason(sick, check):
    failure = compared(lambda _: sick).failure()
    assert failure is not None
    assert failure.check == check


def test_one_window_without_a_number_is_enough():
    """A sound graph gives finite numbers for every window that the other one can score."""
    failure = compared(lambda cycle: WELL._replace(place=None) if cycle == 7 else WELL).failure()
    assert failure is not None
    assert failure.check == "health: not finite"


def test_a_window_that_neither_can_score_is_no_finding():
    nothing = Sample(None, False, None)
    assert (
        compared(lambda c: nothing if c % 2 else WELL, lambda c: nothing if c % 2 else WELL).failure() is None
    )


def test_one_slow_window_is_no_finding():
    """A hiccup of the machine: the slowest of fewer than a hundred windows does not count."""
    assert compared(lambda cycle: Sample(900.0, False, 0.6) if cycle == 30 else WELL).failure() is None


def test_nothing_is_judged_before_enough_was_seen():
    sick = Sample(300.0, True, None)
    assert compared(lambda _: sick, cycles=LIMITS.early_cycles - 1).failure() is None
    assert compared(lambda _: sick, cycles=LIMITS.early_cycles).failure() is not None


def test_a_model_that_drifts_after_fifty_cycles_is_caught_within_twenty():
    """The bad model of the issue: sound for 50 cycles, then it loses two hundredths of the horizon each."""
    caught = failing_since(lambda cycle: WELL._replace(place=max(0.0, 0.6 - 0.02 * max(0, cycle - 50))), 300)
    assert caught is not None
    assert 50 < caught <= 75


def test_a_slow_drift_is_caught_by_its_growth_before_its_size():
    """A drift of a quarter of the horizon in 250 cycles ends as a shift that two sound models may have."""
    found = Comparison(1, LIMITS)
    for cycle in range(LIMITS.watch_cycles):
        found.add([("pump", WELL._replace(place=0.6 - cycle / 1000), WELL)])
        if failure := found.failure():
            break
    assert failure is not None
    assert failure.check == "health: drift"
    assert found.shift < LIMITS.shift_max


def test_a_drift_that_began_in_the_trial_is_measured_from_there_after_the_commit():
    trial = compared(lambda cycle: WELL._replace(place=0.6 - cycle / 600))
    assert trial.failure() is None
    watch = trial.following()
    for cycle in range(LIMITS.early_cycles):
        watch.add([("pump", WELL._replace(place=0.5 - cycle / 100), WELL)])
    failure = watch.failure()
    assert failure is not None
    assert failure.check == "health: drift"


def test_one_component_of_many_that_differs_is_seen():
    """A median over a whole site would hide the one pump that matters."""
    found = Comparison(10, LIMITS)
    for _ in range(LIMITS.early_cycles):
        found.add([(n, WELL._replace(place=0.1 if n == 3 else 0.6), WELL) for n in range(10)])
    failure = found.failure()
    assert failure is not None
    assert failure.check == "health: shift"
    assert found.windows == 10 * LIMITS.early_cycles


def test_without_a_comparison_there_is_no_shift():
    nothing = Sample(None, False, None)
    found = compared(lambda _: WELL, lambda _: nothing)
    assert math.isnan(found.shift)
    assert found.failure() is None


def test_what_is_kept_is_bounded():
    found = compared(lambda _: WELL, cycles=20 * LIMITS.watch_cycles)
    assert len(found._judged.latencies_ms) == LIMITS.watch_cycles
