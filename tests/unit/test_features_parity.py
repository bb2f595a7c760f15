"""One window, a batch, a history, a stream: the same bits, whatever lies beside a row or is cut where."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.features import (
    GROUPS,
    FeatureSpec,
    FeatureStream,
    Normalisation,
    UnitStream,
    history_features,
    unit_columns,
    unit_features,
    unit_spec,
    window_features,
)
from shared.features import windows as windows_module

NAN = np.nan
TWO_REGIMES = Normalisation(
    regime_tags=("b",), regime_scale=(1.0,), centres=((-5.0,), (5.0,)), mean=((0.0, 1.0), (3.0, 2.0)),
    std=((1.0, 2.0), (0.5, 4.0)),
)  # fmt: skip


@st.composite
def histories(draw):
    """Rows of two tags over many magnitudes, some missing, some of either zero, at times long gaps."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = rng.standard_normal((draw(st.integers(1, 50)), 2)) * 10.0 ** draw(st.integers(-3, 6))
    rows[rng.random(rows.shape) < draw(st.sampled_from([0.0, 0.1, 0.8]))] = NAN
    rows[rng.random(rows.shape) < 0.05] = draw(st.sampled_from([-0.0, 0.0, 1e38, np.inf]))
    return rows.astype(np.float32)


@st.composite
def specs(draw):
    """Every setting there is."""
    window = draw(st.integers(2, 40))
    return FeatureSpec(
        component_type="pump", tags=("a", "b"), window_cycles=window,
        normalisation=draw(st.sampled_from([None, TWO_REGIMES])),
        smoothing=draw(st.sampled_from([1.0, 0.3])),
        groups=tuple(draw(st.permutations(GROUPS))),
        rolling_cycles=draw(st.none() | st.integers(2, window)),
        steps=draw(st.none() | st.integers(1, window)),
    )  # fmt: skip


def every_window(rows, count):
    """`(n, count, T)`: the window that ends with each row."""
    padded = np.concatenate([np.full((count - 1, rows.shape[1]), NAN, np.float32), rows])
    return np.stack([padded[end : end + count] for end in range(len(rows))])


def same(found, expected):
    assert found.dtype == expected.dtype == np.float32
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


@settings(max_examples=25, deadline=None)
@given(histories(), specs(), st.sampled_from([1, 50, 32_768]))
def test_a_history_a_batch_and_a_stream_give_the_bits_of_each_window(rows, spec, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows_module, "BLOCK_VALUES", block)  # where it is cut
        windows = every_window(rows, spec.window_cycles)
        batch = window_features(windows, spec)
        same(history_features(rows, spec), batch[:, -1])
        same(window_features(windows[::-1], spec)[::-1].copy(), batch)  # another order, another layout
        stream = FeatureStream(spec)
        for row, window, expected in zip(rows, windows, batch, strict=True):
            same(window_features(window, spec), expected)
            same(stream.push(row), expected)


@settings(max_examples=30, deadline=None)
@given(histories(), specs(), st.data())
def test_no_row_of_a_history_knows_what_comes_after_it(rows, spec, data):
    at = data.draw(st.integers(0, len(rows)))
    changed = rows.copy()
    changed[at:] = 12345
    same(history_features(changed, spec)[:at].copy(), history_features(rows, spec)[:at].copy())


@settings(max_examples=12, deadline=None)
@given(st.lists(histories(), min_size=1, max_size=4), st.integers(2, 40), st.randoms(use_true_random=False))
def test_a_table_of_units_gives_the_bits_of_each_ones_stream(units, window, chance):
    """Units side by side, cycles missed, faults that come and go; a restarted counter is another unit."""
    spec = unit_spec(("a", "b"), window)
    cycles = [np.cumsum([chance.choice([1, 1, 1, 2, 45]) for _ in rows]) for rows in units]
    faults = [np.array([chance.random() < 0.3 for _ in rows]) for rows in units]
    number = np.repeat(np.arange(len(units)), [len(rows) for rows in units])
    found = unit_features(np.concatenate(units), number, np.concatenate(cycles), np.concatenate(faults), spec)
    stream = UnitStream(spec)  # one for all: the counter goes back between two units
    rows = zip(np.concatenate(units), np.concatenate(cycles), np.concatenate(faults), strict=True)
    last = 10**9
    for at, (row, cycle, fault) in enumerate(rows):
        if number[at] != number[at - 1] and cycle > last:
            stream = UnitStream(spec)
        same(stream.push(row, int(cycle), bool(fault)), found[at])
        last = cycle
    assert np.isfinite(found).all()


def test_a_units_own_columns_by_hand():
    spec = unit_spec(("a",), 3)
    values = np.array([[2], [4], [NAN], [9]], np.float32)
    fault = np.array([False, True, False, False])
    found = unit_features(values, np.zeros(4, int), np.array([5, 6, 8, 9]), fault, spec)
    table = dict(zip(unit_columns(spec), found.T.tolist(), strict=True))
    assert table["a_relative"] == pytest.approx([1, 4 / 3, 4 / 3, 9 / 5])  # of 2, of 3, of 3, of 5
    assert table["cycles_since_start"] == [0, 1, 3, 4]
    assert table["cycles_since_fault"] == [0, 1, 2, 3]  # known once it is over: at 8, that it was at 6


def test_a_baseline_is_kept_after_its_ten_values():
    spec = unit_spec(("a",), 2)
    values = np.concatenate([np.full(10, 2), [NAN], np.full(5, 50)]).astype(np.float32).reshape(-1, 1)
    found = unit_features(values, np.zeros(16, int), np.arange(16), np.zeros(16, bool), spec)
    relative = found[:, unit_columns(spec).index("a_relative")]
    assert relative.tolist() == [1] * 11 + [25] * 5


@pytest.mark.parametrize("push", [FeatureStream, UnitStream])
@pytest.mark.parametrize("row", [[1, 2, 3], 5.0, [[1, 2]], ["a", "b"]])
def test_a_row_of_other_tags_is_an_error(push, row):
    stream = push(unit_spec(("a", "b")))
    more = (1,) if push is UnitStream else ()
    with pytest.raises(ValueError, match="any has 2 numbers: a, b"):
        stream.push(np.asarray(row), *more)


@pytest.mark.parametrize("values", [np.zeros((4, 3)), np.zeros(4), np.zeros((1, 4, 2)), np.full((4, 2), "x")])
def test_a_history_of_other_tags_is_an_error(values):
    with pytest.raises(ValueError, match=r"any has \(rows, 2\)|any needs float32"):
        history_features(values, unit_spec(("a", "b")))
