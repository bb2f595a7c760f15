"""Tables of telemetry rows to features and target: what enters, what must not, what is refused."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.training.feature_table import generate_features
from shared.errors import ConfigError

METRICS = ["flow_rate", "vibration_rms"]


def table(runs=3, rows=40, seed=0):
    """Two components with histories of their own."""
    rng = np.random.default_rng(seed)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "timestamp": pd.date_range("2025-04-04", periods=rows, freq="s", tz="UTC").astype(str),
                    "site_id": "TX01",
                    "reactor_id": "R1",
                    "component": f"pump_{run % 2}",
                    "run": run,
                    "cycle": np.arange(rows),
                    "flow_rate": rng.normal(97, 1, rows),
                    "vibration_rms": rng.normal(1, 0.1, rows),
                    "performance": np.linspace(1, 0.3, rows),
                    "true_RUL": np.arange(rows)[::-1],
                    "fault": None,
                }
            )
            for run in range(runs)
        ],
        ignore_index=True,
    )


def test_features_and_target_come_with_the_tables_own_index():
    df = table().set_index(pd.Index(range(500, 620)))
    found = generate_features(df)
    assert found.index.equals(df.index)
    assert found.columns[-1] == "true_RUL"
    assert found["true_RUL"].equals(df["true_RUL"])
    groups = ("", "_change", "_mean", "_std", "_min", "_max", "_present", "_relative")
    named = [f"{metric}{group}" for group in groups for metric in METRICS]
    assert list(found.columns[:-1]) == [*named, "cycles_since_start", "cycles_since_fault"]
    assert np.isfinite(found.to_numpy()).all()


def test_rolling_columns_are_what_pandas_gives():
    df = table(runs=1)
    found = generate_features(df, 7)
    rolling = df["flow_rate"].astype(np.float32).astype(np.float64).rolling(7, min_periods=1)
    for name, expected in (("mean", rolling.mean()), ("std", rolling.std(ddof=0)), ("min", rolling.min())):
        np.testing.assert_allclose(found[f"flow_rate_{name}"], expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(2, 40))
def test_the_order_of_rows_and_the_neighbours_change_no_bit(chance, window):
    df = table(seed=chance.randrange(100))
    df.loc[df.sample(frac=0.2, random_state=1).index, METRICS] = np.nan
    found = generate_features(df, window)
    order = list(df.index)
    chance.shuffle(order)
    assert generate_features(df.loc[order], window).loc[df.index].equals(found)
    for _, part in df.groupby("run"):
        assert generate_features(part, window).equals(found.loc[part.index])


def test_labels_enter_no_feature():
    df = table()
    changed = df.assign(performance=0.0, true_RUL=df["true_RUL"].iloc[::-1].to_numpy())
    without = df.drop(columns=["performance", "true_RUL"])
    expected = generate_features(df).drop(columns="true_RUL")
    assert generate_features(changed).drop(columns="true_RUL").equals(expected)
    assert generate_features(without).equals(expected)


def test_a_fault_is_known_only_when_it_is_over():
    df = table(runs=1, rows=10)
    df.loc[3:5, "fault"] = "spike"
    expected = generate_features(table(runs=1, rows=10))
    found = generate_features(df)
    assert found["cycles_since_fault"].tolist() == [0, 1, 2, 3, 4, 5, 1, 2, 3, 4]
    rest = found.columns.drop("cycles_since_fault")
    assert found[rest].equals(expected[rest])


def test_a_missed_cycle_is_a_row_without_a_number():
    df = table(runs=1)
    missing = df.copy()
    missing.loc[[10, 11], METRICS] = np.nan
    expected = generate_features(missing).drop(index=[10, 11])
    assert generate_features(df.drop(index=[10, 11])).equals(expected)


def test_without_a_cycle_column_rows_follow_by_time():
    df = table()
    mixed = df.drop(columns="cycle").sample(frac=1, random_state=2)
    assert generate_features(mixed).loc[df.index].equals(generate_features(df))


def test_a_metric_that_a_component_lacks_is_missing_there():
    df = table()
    df.loc[df["component"] == "pump_1", "vibration_rms"] = np.nan
    found = generate_features(df)[df["component"] == "pump_1"]
    assert (found.filter(like="vibration_rms") == 0).all(axis=None)


def without(name):
    return lambda df: df.drop(columns=name)


REFUSALS = {
    "a missing column": (without("reactor_id"), "column 'reactor_id' is missing; the table has timestamp, "),
    "no order": (without(["cycle", "timestamp"]), "'cycle' and 'timestamp' are missing, give one of them"),
    "no rows": (lambda df: df[:0], "no rows; give at least one cycle"),
    "no metric": (without(METRICS), "no metric column"),
    "text": (
        lambda df: df.assign(operator="bob"),
        "'operator' holds str, not numbers; convert it or drop it",
    ),
    "text for a label": (lambda df: df.assign(true_RUL="9"), "column 'true_RUL' holds str"),
    "half a cycle": (lambda df: df.assign(cycle=df["cycle"] / 2), "holds 0.5 in row 1; give whole numbers"),
    "no cycle": (lambda df: df.assign(cycle=np.inf), "'cycle' holds inf in row 0"),
    "no time": (
        lambda df: df.drop(columns="cycle").assign(timestamp="yesterday"),
        "column 'timestamp' holds 'yesterday' in row 0; give RFC 3339",
    ),
    "two histories in one": (without("run"), "TX01/R1/pump_0 (cycle 0), TX01/R1/pump_0 (cycle 1)"),
    "a column twice": (lambda df: pd.concat([df, df[["flow_rate"]]], axis=1), "'flow_rate' comes twice"),
    "a feature's name": (
        lambda df: df.assign(flow_rate_mean=1.0),
        "'flow_rate_mean' has the name of a feature; rename it or drop it",
    ),
    "a unit that never fails": (
        lambda df: df.assign(true_RUL=df["true_RUL"].where(df["run"] != 1)),
        "never fails: TX01/R1/pump_1/1 (40 of 40 rows); let it run to failure, leave it out, or drop",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_makes_no_sense_is_refused_with_place_and_remedy(name):
    change, message = REFUSALS[name]
    with pytest.raises(ConfigError) as refusal:
        generate_features(change(table()))
    assert message in str(refusal.value)


@pytest.mark.parametrize("window", [0, 1, 1001, -5])
def test_a_window_that_is_none_is_refused(window):
    with pytest.raises(ConfigError, match=f"window_size {window}; 2 to 1000 cycles are possible"):
        generate_features(table(), window)


def test_every_problem_is_named_at_once():
    with pytest.raises(ConfigError) as refusal:
        generate_features(table().drop(columns="site_id").assign(a="x"), 1)
    assert len(refusal.value.problems) == 3


ODD = [None, True, 7, -1, 2**60, 0.5, np.nan, np.inf, 1e300, "", "x", pd.NA, pd.NaT, b"b", (1,)]
COLUMNS = ["site_id", "component", "run", "cycle", "timestamp", "flow_rate", "fault", "true_RUL"]


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_any_table_gives_finite_features_or_a_refusal(chance, rows):
    df = table(runs=1, rows=rows)
    for name in chance.sample(COLUMNS, chance.randrange(3)):
        df[name] = [chance.choice(ODD) for _ in range(rows)]
    df = df.drop(columns=chance.sample(COLUMNS, chance.randrange(2)))
    try:
        found = generate_features(df)
    except ConfigError as refusal:
        assert refusal.problems  # noqa: PT017 - either way is right
    else:
        assert len(found) == rows
        assert np.isfinite(found.drop(columns="true_RUL", errors="ignore").to_numpy()).all()
