"""Rows per second that the feature code makes, against a plain numpy rolling mean of the same windows.

Ours: `history_features` of PRD 4.1 (value, change, mean, std, min, max and presence of 8 tags over 30
cycles) over the histories of a fleet in one table. Theirs: `sliding_window_view(...).mean` over the same
rows: one number a tag, no missing values, no order of adding that holds for a single window too. Beside it
the same with 2 % of the values missing, and window features as a network takes them (value, change, presence
at each row of a window) against the mean of the same windows. In turns, so that a noisy machine slows all.
Limits: as many rows/s as the rolling mean (seven features a tag for the price of one, as sums that
neighbouring windows share allow), 0.6 of it with missing values, and for windows 0.1, as 720 numbers leave
where the mean gives 8.
"""

import json
import time
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from bench.arguments import takes_none
from shared.features import FeatureSpec, history_features, unit_spec, window_features

ROWS = 60_000
TAGS = tuple(f"t{number}" for number in range(8))  # as a coolant pump has
WINDOW_CYCLES = 30
MISSING = 0.02  # of the values
WINDOWS = 2_000
TURNS = 8
RATIO_MIN = 1.0
RATIO_MISSING_MIN = 0.6
RATIO_WINDOWS_MIN = 0.1

Floats = NDArray[np.float32]


def main() -> None:
    """Print rows/s of each and the ratios; the last line is JSON."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((ROWS, len(TAGS)), np.float32)
    holes = np.where(rng.random(rows.shape) < MISSING, np.float32(np.nan), rows)
    windows = np.ascontiguousarray(
        sliding_window_view(rows[:WINDOWS], WINDOW_CYCLES, axis=0).swapaxes(-1, -2)
    )
    table, network = unit_spec(TAGS, WINDOW_CYCLES), FeatureSpec(component_type="pump", tags=TAGS)
    work: dict[str, tuple[int, Callable[[], object]]] = {
        "mean": (ROWS, lambda: sliding_window_view(rows, WINDOW_CYCLES, axis=0).mean(axis=-1)),
        "features": (ROWS, lambda: history_features(rows, table)),
        "features_missing": (ROWS, lambda: history_features(holes, table)),
        "window_mean": (len(windows), lambda: windows.mean(axis=1)),
        "windows": (len(windows), lambda: window_features(windows, network)),
    }
    spent = dict.fromkeys(work, 0.0)
    for turn in range(TURNS + 1):
        for name, (_, task) in work.items():
            seconds = _timed(task)
            spent[name] += seconds if turn else 0.0  # the first warms up
    _report({name: TURNS * count / spent[name] for name, (count, _) in work.items()})


def _timed(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def _report(speed: dict[str, float]) -> None:
    ratio = speed["features"] / speed["mean"]
    missing = speed["features_missing"] / speed["mean"]
    windows = speed["windows"] / speed["window_mean"]
    held = ratio >= RATIO_MIN and missing >= RATIO_MISSING_MIN and windows >= RATIO_WINDOWS_MIN
    print(f"rolling mean          {speed['mean']:>12,.0f} rows/s")
    print(f"features              {speed['features']:>12,.0f} rows/s")
    print(f"  with missing values {speed['features_missing']:>12,.0f} rows/s")
    print(f"mean of windows       {speed['window_mean']:>12,.0f} windows/s")
    print(f"window features       {speed['windows']:>12,.0f} windows/s")
    print(f"ratio                 {ratio:>12.3f} (limit: at least {RATIO_MIN})")
    print(f"  with missing values {missing:>12.3f} (limit: at least {RATIO_MISSING_MIN})")
    print(f"  of windows          {windows:>12.3f} (limit: at least {RATIO_WINDOWS_MIN})")
    figures = {f"{name}_per_s": round(value) for name, value in speed.items()}
    print(
        json.dumps(
            {
                "benchmark": "features", "rows_per_s": round(speed["features"]), **figures,
                "ratio": round(ratio, 3), "ratio_missing": round(missing, 3),
                "ratio_windows": round(windows, 3), "held": held,
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    takes_none(__doc__)
    main()
