"""Intervals: widened by what whole units missed, ordered always, and honest about few units."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from control_plane.training.conformal import UNITS_MIN, calibrate, coverage_by_unit
from shared.schemas import Calibration, Manifest
from tests.support.releases import make_release

HORIZON = 125.0
CYCLES = st.floats(-10, 200, allow_nan=False)


def units_at_random(rng, count: int, windows: int = 20, between: float = 8.0, within: float = 4.0):
    """Windows of units whose network is wrong by an amount of the unit and one of the window, cycles."""
    unit = np.repeat(np.arange(count), rng.integers(2, windows, count))
    truth = rng.uniform(0, HORIZON, len(unit))
    wrong = rng.normal(0, between, count)[unit] + rng.normal(0, within, len(unit))
    median = (truth + wrong).clip(0, HORIZON)
    ends = np.stack([median - 5, median, median + 5], axis=-1).clip(0, HORIZON)
    return ends, truth, unit


def calibration(*margins: float) -> Calibration:
    width = HORIZON / len(margins)
    bins = [
        {"upper_cycles": width * (i + 1), "margin_cycles": margin, "units": 10}
        for i, margin in enumerate(margins)
    ]
    return Calibration(coverage=0.9, horizon_cycles=HORIZON, bins=bins)


@settings(deadline=None)
@given(
    st.lists(CYCLES, min_size=3, max_size=3), st.lists(CYCLES.map(lambda x: x - 60), min_size=1, max_size=5)
)
def test_an_interval_is_ordered_and_within_the_horizon(ends, margins):
    """0 <= low <= median <= high <= horizon, whatever the graph gives and the margins are."""
    found = calibration(*margins).widen(*ends)
    assert 0 <= found.low <= found.median <= found.high <= HORIZON


@settings(deadline=None)
@given(st.lists(CYCLES, min_size=3, max_size=3), CYCLES, st.floats(0, 50))
def test_a_greater_margin_never_narrows(ends, margin, more):
    """Intervals nest: what conformal prediction rests on."""
    narrow, wide = calibration(margin - 60).widen(*ends), calibration(margin - 60 + more).widen(*ends)
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_calibrated_windows_are_covered_unit_by_unit(seed, count):
    """On the units of the calibration itself the share is at least what was asked for."""
    ends, truth, unit = units_at_random(np.random.default_rng(seed), count)
    made = calibrate(ends, truth, unit, HORIZON)
    assert len(made.bins) == 1 or min(each.units for each in made.bins) >= UNITS_MIN
    low, _, high = made.widen(*ends.T)
    inside = (truth >= low) & (truth <= high)
    at = np.searchsorted([each.upper_cycles for each in made.bins[:-1]], ends[:, 1], side="right")
    for i, each in enumerate(made.bins):
        members = [inside[(unit == u) & (at == i)].mean() for u in np.unique(unit[at == i])]
        assert each.units == len(members)
        assert np.mean(members) >= 0.9 - 1e-9


def test_units_never_seen_are_covered_as_promised():
    """Over many draws of 20 units, 0.88 to 0.93 of new ones are covered, though each errs its own way."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(60):
        made = calibrate(*units_at_random(rng, 20), HORIZON)
        found.append(coverage_by_unit(made, *units_at_random(rng, 100)))
    assert 0.88 <= np.mean(found) <= 0.93


def test_the_more_units_calibrate_the_less_is_left_to_chance():
    """Coverage of new units varies from one draw of 20 to another, and by much less between draws of 100."""
    rng = np.random.default_rng(2)
    new = units_at_random(rng, 300)
    spreads = [
        np.std([coverage_by_unit(calibrate(*units_at_random(rng, count), HORIZON), *new) for _ in range(40)])
        for count in (20, 100)
    ]
    assert 1.5 * spreads[1] < spreads[0] < 0.07


def test_a_unit_counts_once_however_many_windows_it_has():
    """One unit with a thousand wrong windows does not outweigh nineteen that are right."""
    truth = np.concatenate([np.full(19, 50.0), np.full(1000, 20.0)])
    ends = np.tile([45.0, 50.0, 55.0], (len(truth), 1))
    unit = np.concatenate([np.arange(19), np.full(1000, 19)])
    low, _, high = calibrate(ends, truth, unit, HORIZON).widen(45.0, 50.0, 55.0)
    assert low == high == 50.0


def test_each_range_has_its_own_margin():
    """A network that is sharp near the end and vague far off is widened far off only."""
    rng = np.random.default_rng(3)
    unit = np.repeat(np.arange(30), 40)
    truth = rng.uniform(0, HORIZON, len(unit))
    median = truth + rng.normal(0, 1, len(unit)) * np.where(truth < 50, 1, 12)
    ends = np.stack([median - 5, median, median + 5], axis=-1).clip(0, HORIZON)
    made = calibrate(ends, truth, unit, HORIZON)
    assert [each.upper_cycles for each in made.bins] == [25, 50, 75, 100, 125]
    assert made.bins[0].margin_cycles < 0
    assert made.bins[2].margin_cycles > 10


def test_ranges_with_few_units_are_merged():
    """Nine units beyond 100 cycles share the bin below; a single unit leaves one bin that says 1."""
    unit = np.arange(40)
    median = np.where(unit < 31, 10.0 + 2 * unit, 110.0)
    ends = np.stack([median - 5, median, median + 5], axis=-1)
    made = calibrate(ends, median, unit, HORIZON)
    assert [each.upper_cycles for each in made.bins] == [50, 125]
    assert [each.units for each in made.bins] == [20, 20]
    alone = calibrate(ends[:1], median[:1], unit[:1], HORIZON)
    assert [(each.upper_cycles, each.units) for each in alone.bins] == [(HORIZON, 1)]


def test_an_end_at_the_horizon_stays_there():
    """A truth beyond the horizon is not cut off by a narrowing margin."""
    found = calibration(-30.0).widen(80.0, 110.0, 124.0)
    assert tuple(found) == (110.0, 110.0, HORIZON)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e, t, u: (e[:, :2], t, u), "needed"),
        (lambda e, t, u: (e[:0], t[:0], u[:0]), "N at least 1"),
        (lambda e, t, u: (e, t, u[1:]), "needed"),
        (lambda e, t, u: (e, np.where(u == 0, np.nan, t), u), "not finite"),
        (lambda e, t, u: (e * np.inf, t, u), "not finite"),
    ],
)
def test_what_cannot_be_calibrated_on_is_refused(change, message):
    """Empty, ill-shaped or missing numbers: a refusal that says what is needed, never a margin."""
    with pytest.raises(ValueError, match=message), np.errstate(invalid="ignore"):
        calibrate(*change(*units_at_random(np.random.default_rng(0), 5)), HORIZON)


@pytest.mark.parametrize("edges", [(50.0, 20.0, 125.0), (50.0, 100.0), ()])
def test_bins_that_leave_a_prediction_out_are_refused(edges):
    """Bins rise and end at the horizon."""
    bins = [{"upper_cycles": edge, "margin_cycles": 0, "units": 1} for edge in edges]
    with pytest.raises(ValidationError):
        Calibration(coverage=0.9, horizon_cycles=HORIZON, bins=bins)


@pytest.mark.parametrize("older", [{}, {"coverage": 0.9, "margin_cycles": 3.5}, None, "absent"])
def test_an_older_manifest_is_read_as_not_widened(older):
    """Its graph widens already: nothing is added twice."""
    document = json.loads(make_release()[0].model_dump_json())
    document |= {"calibration": older}
    if older == "absent":
        del document["calibration"]
    assert Manifest.model_validate(document).calibration is None


def test_a_calibration_that_is_none_is_refused():
    """Unknown keys are not taken for an old manifest's."""
    document = json.loads(make_release()[0].model_dump_json()) | {"calibration": {"margin": 3.0}}
    with pytest.raises(ValidationError, match="calibration"):
        Manifest.model_validate(document)
