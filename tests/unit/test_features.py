"""The one feature code: causal, the same for one window and a batch, finite whatever comes in."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.features import FeatureSpec, window_features

SPEC = FeatureSpec(component_type="pump", tags=("a", "b"), window_cycles=4)
NUMBERS = st.floats(-1e6, 1e6, width=32) | st.just(np.nan)
WINDOWS = hnp.arrays(np.float32, (3, 4, 2), elements=NUMBERS)
NAN = np.nan


def features(rows):
    return window_features(np.asarray(rows, np.float32), SPEC)


def test_value_change_and_presence_by_hand():
    found = features([[NAN, 1], [2, NAN], [NAN, 4], [5, 6]])
    np.testing.assert_array_equal(found[:, :2], [[0, 1], [2, 1], [2, 4], [5, 6]])  # the last good one
    np.testing.assert_array_equal(found[:, 2:4], [[0, 0], [0, 0], [0, 0], [0, 2]])  # both ends present
    np.testing.assert_array_equal(found[:, 4:], [[0, 1], [1, 0], [0, 1], [1, 1]])


@given(WINDOWS)
def test_one_window_gives_the_bits_of_the_batch(windows):
    together = window_features(windows, SPEC)
    assert together.shape == (3, *SPEC.shape)
    for one, row in zip(windows, together, strict=True):
        np.testing.assert_array_equal(window_features(one, SPEC), row)


@given(WINDOWS, st.integers(1, 3))
def test_no_row_knows_what_comes_after_it(windows, at):
    changed = windows.copy()
    changed[:, at:] = 12345
    before, after = window_features(windows, SPEC), window_features(changed, SPEC)
    np.testing.assert_array_equal(before[:, :at], after[:, :at])


@given(hnp.arrays(np.float32, (2, 4, 2), elements=st.floats(width=32)))
def test_every_feature_is_finite(windows):
    with np.errstate(over="ignore"):
        found = window_features(windows, SPEC)
    assert not np.isnan(found).any()


@pytest.mark.parametrize("shape", [(3, 2), (4, 3), (4,)])
def test_another_shape_is_an_error(shape):
    with pytest.raises(ValueError, match=r"pump has \(4, 2\)|windows of"):
        window_features(np.zeros(shape, np.float32), SPEC)


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
