"""Feature tables: telemetry rows in, features and the target out (PRD 4.1).

The DataFrame face of `shared.features.unit_features`, which the agent runs without pandas. It stands here
because only training has tables.
"""

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shared.errors import ConfigError
from shared.features import WINDOW_CYCLES, unit_columns, unit_features, unit_spec
from shared.features.spec import WINDOW_CYCLES_MAX

IDENTITY = ("site_id", "reactor_id", "component")
UNIT = (*IDENTITY, "run", "unit")  # what tells one history from another, as far as the table has it
TARGET = "true_RUL"
NO_METRICS = frozenset({*UNIT, "timestamp", "cycle", "fault", "performance", TARGET})
CYCLE_MAX = 2**53  # cycles are compared as float64; 285 million years at 1 Hz
NAMED_MAX = 5  # of the units that one problem names

Indices = NDArray[np.intp]


def generate_features(df: pd.DataFrame, window_size: int = WINDOW_CYCLES) -> pd.DataFrame:
    """Features of every row, and `true_RUL` as the last column where `df` has it; `df`'s index and order.

    `df`: telemetry rows (PRD phase 1) of one or many components: `site_id`, `reactor_id`, `component`, `run`
    or `unit` where one has several histories, `cycle` or else `timestamp`, and the metrics, NaN where a value
    is missing or bad. A history's rows are taken in order of their cycles, and a cycle that is left out is
    a row without a number; by timestamp, as if none were. `window_size` is in cycles.
    Per metric, float32: the last good value of the window, `_change`, `_mean`, `_std`, `_min`, `_max`,
    `_present` and `_relative` (a multiple of the unit's first good values); per row `cycles_since_start` and
    `cycles_since_fault` (of faults that are over, by the column `fault`; since the start before the first).
    Short histories are padded with missing rows. `performance` and `true_RUL` enter no feature.

    ConfigError lists every problem: no row, a missing column, a metric that is no number, a cycle that comes
    twice, a unit without its `true_RUL`.
    """
    metrics = [column for column in df.columns if column not in NO_METRICS]
    _refuse(_table_problems(df, metrics, window_size))
    keys = [column for column in UNIT if column in df.columns]
    unit_of = df.groupby(keys, sort=False, dropna=False).ngroup().to_numpy()
    cycle = _cycles(df, unit_of)
    order = np.lexsort((cycle, unit_of))
    unit, cycle = unit_of[order], cycle[order]
    _refuse(_unit_problems(df, keys, unit, cycle, order))
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and so missing
        values = df[metrics].to_numpy(np.float32, na_value=np.nan)[order]
    fault = df["fault"].notna().to_numpy()[order] if "fault" in df else np.zeros(len(df), bool)
    spec = unit_spec([str(metric) for metric in metrics], window_size)
    features = np.empty((len(df), len(unit_columns(spec))), np.float32)
    features[order] = unit_features(values, unit, cycle, fault, spec)
    found = pd.DataFrame(features, index=df.index, columns=list(unit_columns(spec)), copy=False)
    if TARGET in df:
        found[TARGET] = df[TARGET]
    return found


def _cycles(df: pd.DataFrame, unit: Indices) -> NDArray[np.int64]:
    """The cycle column; without one, each row's number in its history by time."""
    if "cycle" in df:
        return np.asarray(df["cycle"].to_numpy(np.int64))
    order = np.lexsort((_times(df).to_numpy(), unit))
    cycle: NDArray[np.int64] = np.empty(len(df), np.int64)
    cycle[order] = np.arange(len(df))
    return cycle


def _table_problems(df: pd.DataFrame, metrics: Sequence[Hashable], window_size: int) -> list[str]:
    found = ", ".join(map(str, df.columns))
    missing = [name for name in IDENTITY if name not in df.columns]
    problems = [f"column {name!r} is missing; the table has {found}" for name in missing]
    if not {"cycle", "timestamp"} & {*df.columns}:
        problems.append(
            f"columns 'cycle' and 'timestamp' are missing, give one of them; the table has {found}"
        )
    if len(df) == 0:
        problems.append("no rows; give at least one cycle of one component")
    if not metrics:
        problems.append(f"no metric column; besides identity and labels the table has none of: {found}")
    repeated = sorted({str(name) for name in df.columns[df.columns.duplicated()]})
    problems += [f"column {name!r} comes twice; keep one" for name in repeated]
    if not 2 <= window_size <= WINDOW_CYCLES_MAX:
        problems.append(f"window_size {window_size}; 2 to {WINDOW_CYCLES_MAX} cycles are possible")
    if not repeated:
        problems += _type_problems(df, metrics)
    return problems


def _type_problems(df: pd.DataFrame, metrics: Sequence[Hashable]) -> list[str]:
    numbers = [name for name in df.columns if name in {*metrics, "cycle", TARGET}]
    wrong = [name for name in numbers if not pd.api.types.is_numeric_dtype(df[name])]
    problems = [
        f"column {str(name)!r} holds {df[name].dtype}, not numbers; convert it or drop it" for name in wrong
    ]
    if "cycle" in df and "cycle" not in wrong:
        cycle = df["cycle"].to_numpy(np.float64, na_value=np.nan)
        broken = np.flatnonzero(~((cycle == np.floor(cycle)) & (np.abs(cycle) < CYCLE_MAX)))
        if len(broken):
            problems.append(f"column 'cycle' holds {cycle[broken[0]]} in row {broken[0]}; give whole numbers")
    elif "cycle" not in df and "timestamp" in df and _times(df).isna().any():
        row = int(_times(df).isna().to_numpy().argmax())
        problems.append(
            f"column 'timestamp' holds {df['timestamp'].iloc[row]!r} in row {row};"
            " give RFC 3339 times or a column 'cycle'"
        )
    return problems


def _times(df: pd.DataFrame) -> pd.Series:
    return pd.to_datetime(df["timestamp"], utc=True, format="ISO8601", errors="coerce")


def _unit_problems(
    df: pd.DataFrame, keys: list[str], unit: Indices, cycle: NDArray[np.int64], order: Indices
) -> list[str]:
    problems = []
    twice = np.flatnonzero((np.diff(unit) == 0) & (np.diff(cycle) == 0)) + 1
    if len(twice):
        places = _named(df, keys, order[twice], [f"cycle {c}" for c in cycle[twice]])
        problems.append(
            f"a cycle comes twice: {places}; tell histories apart by a column 'run', or drop the rows"
        )
    if TARGET in df:
        known = np.isfinite(df[TARGET].to_numpy(np.float64, na_value=np.nan))[order]
        missing = np.bincount(unit, ~known).astype(int)
        first = np.searchsorted(unit, np.flatnonzero(missing))
        rows = [f"{missing[unit[at]]} of {(unit == unit[at]).sum()} rows" for at in first[: NAMED_MAX + 1]]
        if len(first):
            places = _named(df, keys, order[first], rows)
            problems.append(
                f"no true_RUL, as of a unit that never fails: {places}; let it run to failure, leave it out,"
                " or drop the column true_RUL for features without a target"
            )
    return problems


def _named(df: pd.DataFrame, keys: list[str], rows: Indices, notes: Sequence[str]) -> str:
    """`site/reactor/component/run (note)` of the first few rows."""
    named = [
        f"{'/'.join(map(str, key))} ({note})"
        for key, note in zip(df[keys].iloc[rows[:NAMED_MAX]].itertuples(index=False), notes, strict=False)
    ]
    return ", ".join(named) + (f" and {len(rows) - NAMED_MAX} more" if len(rows) > NAMED_MAX else "")


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ConfigError("feature table", problems)
