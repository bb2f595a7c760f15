"""The one feature code: causal, the same for one window and a batch, finite whatever comes in."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.features import GROUPS, FeatureSpec, Normalisation, fit_normalisation, window_features

SPEC = FeatureSpec(component_type="pump", tags=("a", "b"), window_cycles=4)
NUMBERS = st.floats(-1e6, 1e6, width=32) | st.just(np.nan)
LIKE = Normalisation(
    regime_tags=("a",), regime_scale=(2.0,), centres=((0.0,), (10.0,)), mean=((0.0, 1.0), (10.0, 2.0)),
    std=((1.0, 2.0), (0.5, 4.0)),
)  # fmt: skip
EVERYTHING = FeatureSpec(
    component_type="pump", tags=("a", "b"), window_cycles=4, normalisation=LIKE, smoothing=0.25,
    groups=GROUPS, rolling_cycles=3,
)  # fmt: skip
WINDOWS = hnp.arrays(np.float32, (3, 4, 2), elements=NUMBERS)
NAN = np.nan


def features(rows):
    return window_features(np.asarray(rows, np.float32), SPEC)


def test_value_change_and_presence_by_hand():
    found = features([[NAN, 1], [2, NAN], [NAN, 4], [5, 6]])
    np.testing.assert_array_equal(found[:, :2], [[0, 1], [2, 1], [2, 4], [5, 6]])  # the last good one
    np.testing.assert_array_equal(found[:, 2:4], [[0, 0], [0, 0], [0, 0], [0, 2]])  # both ends present
    np.testing.assert_array_equal(found[:, 4:], [[0, 1], [1, 0], [0, 1], [1, 1]])


@settings(max_examples=30, deadline=None)
@given(WINDOWS)
def test_one_window_gives_the_bits_of_the_batch(windows):
    together = window_features(windows, SPEC)
    assert together.shape == (3, *SPEC.shape)
    for one, row in zip(windows, together, strict=True):
        np.testing.assert_array_equal(window_features(one, SPEC), row)


@settings(max_examples=30, deadline=None)
@given(WINDOWS, st.integers(1, 3))
def test_no_row_knows_what_comes_after_it(windows, at):
    changed = windows.copy()
    changed[:, at:] = 12345
    before, after = window_features(windows, SPEC), window_features(changed, SPEC)
    np.testing.assert_array_equal(before[:, :at], after[:, :at])


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.float32, (2, 4, 2), elements=st.floats(width=32)))
def test_every_feature_is_finite(windows):
    assert np.isfinite(window_features(windows, SPEC)).all()
    assert np.isfinite(window_features(windows, EVERYTHING)).all()


@pytest.mark.parametrize("shape", [(3, 2), (4, 3), (4,)])
def test_another_shape_is_an_error(shape):
    with pytest.raises(ValueError, match=r"pump has \(4, 2\)|windows of"):
        window_features(np.zeros(shape, np.float32), SPEC)


def test_what_is_not_a_number_is_an_error():
    with pytest.raises(ValueError, match="type <U1; pump needs float32"):
        window_features(np.full((4, 2), "x"), SPEC)


def only(group, **more):
    return FeatureSpec(component_type="p", tags=("a",), window_cycles=5, groups=(group,), **more)


def column(spec, *values):
    return window_features(np.array(values, np.float32).reshape(-1, 1), spec)[:, 0].tolist()


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("mean", [0, 2, 2, 4, 6]),
        ("std", [0, 0, 0, 2, 0]),
        ("min", [0, 2, 2, 2, 6]),
        ("max", [0, 2, 2, 6, 6]),
        ("cycles", [0, 0, 1, 2, 3]),
    ],
)
def test_rolling_groups_by_hand(group, expected):
    """Over the good ones of the last three rows."""
    assert column(only(group, rolling_cycles=3), NAN, 2, NAN, 6, NAN) == expected


def test_a_span_without_a_good_value_repeats_the_last_one():
    for group, expected in (("mean", 7), ("min", 7), ("max", 7), ("std", 0)):
        assert column(only(group, rolling_cycles=2), 5, 7, NAN, NAN, NAN)[-1] == expected


def test_smoothing_starts_at_the_first_good_row_and_skips_the_missing():
    assert column(only("value", smoothing=0.5), NAN, 8, 4, NAN, 0) == [0, 8, 6, 6, 3]


@given(
    hnp.arrays(np.float32, (20, 2), elements=st.floats(-1e4, 1e4, width=32) | st.just(np.nan)),
    st.integers(2, 20),
)
@settings(max_examples=15, deadline=None)
def test_rolling_groups_are_what_numpy_gives_for_the_same_rows(rows, count):
    spec = FeatureSpec(
        component_type="p", tags=("a", "b"), window_cycles=20, groups=("mean", "std", "min", "max", "value"),
        rolling_cycles=count,
    )  # fmt: skip
    found = window_features(rows, spec).reshape(20, 5, 2)
    for row in range(20):
        for tag in range(2):
            good = rows[max(0, row - count + 1) : row + 1, tag].astype(np.float64)
            good = good[np.isfinite(good)]
            if len(good):
                mean, std, low, high = found[row, :4, tag]
                np.testing.assert_allclose(mean, good.mean(), rtol=1e-6, atol=1e-3 * 1e-6)
                np.testing.assert_allclose(std, good.std(), rtol=1e-5, atol=1e-7 * np.abs(good).max() + 1e-44)
                assert (low, high) == (good.min(), good.max())
            else:
                np.testing.assert_array_equal(
                    found[row, :4, tag], [found[row, 4, tag]] * 4 * np.array([1, 0, 1, 1])
                )


def test_a_value_that_does_not_move_has_no_spread():
    """The sums cancel: what is left of 518.67 must be 0, not a rounding error that a z-score blows up."""
    for value in (518.67, 1e-30, 1e37, 0.1):
        for count in (7, 30, 300):
            spec = only("std").model_copy(update={"window_cycles": count})
            assert set(column(spec, *[value] * count)) == {0.0}


@settings(max_examples=30, deadline=None)
@given(WINDOWS, st.integers(1, 4))
def test_the_last_steps_are_the_end_of_all_steps(windows, steps):
    cut = EVERYTHING.model_copy(update={"steps": steps})
    whole = window_features(windows, EVERYTHING)
    assert window_features(windows, cut).tobytes() == whole[:, -steps:].tobytes()
    assert cut.shape == (steps, len(cut.columns))


def test_columns_name_the_features_in_order():
    spec = FeatureSpec(component_type="p", tags=("a", "b"), groups=("mean", "cycles", "value"), steps=1)
    assert spec.columns == ("a_mean", "b_mean", "cycles", "a", "b")
    assert spec.shape == (1, 5)


def test_values_are_compared_with_their_own_regime():
    spec = EVERYTHING.model_copy(update={"smoothing": 1.0, "groups": ("value", "present")})
    found = window_features(np.array([[0, 3], [11, 10], [NAN, 10], [5, NAN]], np.float32), spec)
    np.testing.assert_array_equal(found[:, :2], [[0, 1], [2, 2], [2, 2], [5, 2]])  # a tie goes to the first
    np.testing.assert_array_equal(found[:, 2:], [[1, 1], [1, 1], [0, 0], [1, 0]])  # no regime: no value


def regimes_of_three():
    rng = np.random.default_rng(5)
    load = rng.choice([0.2, 0.6, 1.0], 900)
    rows = np.stack([load + rng.normal(0, 0.005, 900), 100 * load + rng.normal(0, 3, 900)], axis=1)
    return [part.astype(np.float32) for part in np.array_split(rows, 4)]


def test_fitting_finds_the_regimes_and_what_is_usual_in_each():
    units = regimes_of_three()
    found = fit_normalisation(units, ("load", "flow"), ("load",), regimes=3)
    np.testing.assert_allclose(np.ravel(found.centres), [0.2, 0.6, 1.0], atol=0.002)  # sorted
    np.testing.assert_allclose([row[1] for row in found.mean], [20, 60, 100], atol=0.6)
    np.testing.assert_allclose([row[1] for row in found.std], [3, 3, 3], atol=0.4)
    assert fit_normalisation(units[::-1], ("load", "flow"), ("load",), regimes=3).regime_tags == ("load",)
    assert fit_normalisation(units, ("load", "flow"), ("load",), regimes=3) == found


def test_z_scores_of_the_training_rows_have_mean_0_and_spread_1():
    units = regimes_of_three()
    fitted = fit_normalisation(units, ("load", "flow"), ("load",), regimes=3)
    spec = FeatureSpec(component_type="p", tags=("load", "flow"), window_cycles=900, groups=("value",))
    spec = FeatureSpec.model_validate(spec.model_dump() | {"normalisation": fitted})
    found = window_features(np.concatenate(units), spec)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(found.std(axis=0), 1, atol=1e-3)


def test_a_tag_that_never_moves_is_left_in_its_own_unit():
    fitted = fit_normalisation([np.full((5, 1), 518.67, np.float32)], ("a",))
    assert fitted.std == ((1.0,),)


@pytest.mark.parametrize(
    ("units", "asked", "message"),
    [
        ([], {}, "no row to fit"),
        ([np.zeros((3, 3))], {}, r"unit 0 has values of shape \(3, 3\)"),
        ([np.zeros((3, 2)), np.full((1, 2), NAN)], {"regime_tags": ["c"]}, "regime tag 'c' is not among"),
        ([np.array([[1, NAN]])], {}, "no training unit has a good value of b; leave the tag out"),
        ([np.array([[1, NAN], [NAN, 1]])], {"regime_tags": ["a", "b"], "regimes": 2}, "all regime tags good"),
        ([np.array([[1, 2], [1, 3]])], {"regime_tags": ["a"], "regimes": 2}, "show 1 regimes, not 2"),
        ([np.ones((3, 2))], {"regimes": 2}, "no regime tag"),
        ([np.ones((3, 2))], {"regime_tags": ["a"], "regimes": 65}, "give 1 to 64"),
    ],
)
def test_a_fit_that_makes_no_sense_is_refused(units, asked, message):
    with pytest.raises(ValueError, match=message):
        fit_normalisation(units, ("a", "b"), **asked)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": ("a", "a")}, "must not repeat"),
        ({"groups": ("mean", "mean")}, "must not repeat"),
        ({"groups": ()}, "at least 1 item"),
        ({"groups": ("median",)}, "'value', 'change', 'present'"),
        ({"tags": ("a", "a_mean"), "groups": ("value", "mean")}, "a_mean"),
        ({"rolling_cycles": 31}, "rolling_cycles 31 is more than the window's 30 cycles"),
        ({"steps": 31}, "steps 31 is more than"),
        ({"smoothing": 0.0}, "greater than 0"),
        ({"tags": ("b", "c"), "normalisation": LIKE}, "regime tag 'a' is not among the tags b, c"),
        ({"tags": ("a",), "normalisation": LIKE}, "normalisation is of 2 tags; the spec has 1"),
        ({"version": "features/1"}, "features/2"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        FeatureSpec(**({"component_type": "pump", "tags": ("a", "b")} | change))


def test_a_normalisation_with_a_row_too_short_is_refused():
    with pytest.raises(ValidationError, match=r"std has \[2, 1\], not \[2, 2\]"):
        Normalisation(**(LIKE.model_dump() | {"std": ((1.0, 2.0), (1.0,))}))
    with pytest.raises(ValidationError, match="greater than 0"):
        Normalisation(**(LIKE.model_dump() | {"std": ((1.0, 2.0), (1.0, 0.0))}))


def test_fitted_numbers_travel_with_the_spec_and_change_its_hash():
    read = FeatureSpec.model_validate_json(EVERYTHING.model_dump_json())
    assert read == EVERYTHING
    assert read.hash() == EVERYTHING.hash()
    moved = LIKE.model_copy(update={"mean": ((0.0, 1.0), (10.0, 2.0000002))})
    assert EVERYTHING.model_copy(update={"normalisation": moved}).hash() != EVERYTHING.hash()


def test_the_hash_is_that_of_the_whole_spec():
    """Pinned: a hash that changes by itself would make every agent refuse every model."""
    assert SPEC.hash() == FeatureSpec(component_type="pump", tags=("a", "b"), window_cycles=4).hash()
    changed = [
        FeatureSpec(component_type="pump", tags=("b", "a"), window_cycles=4),
        FeatureSpec(component_type="pump", tags=("a", "b"), window_cycles=5),
        FeatureSpec(component_type="valve", tags=("a", "b"), window_cycles=4),
    ]
    assert SPEC.hash() not in {spec.hash() for spec in changed}
    assert SPEC.hash() == "a2ae12fff657df0a1cdcc17e0addf171f4146956fd720fd8c21c48348e10713b"
