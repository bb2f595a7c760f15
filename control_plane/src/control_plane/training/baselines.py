"""What a network must beat: a line through the wear, and trees on the network's own features.

Each is fitted on training units, then called as the network is: raw windows `(N, W, T)` -> RUL `(N, 3)` as
low, median and high in cycles, within `[0, horizon]`, and an anomaly score `(N,)`. A window ends at the cycle
that is judged, so that nothing here can look ahead. Never: a conformal margin, which the trial adds to all.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor, IsolationForest
from sklearn.linear_model import RidgeCV

from control_plane.training.histories import Unit, windows
from shared.features import FeatureSpec, window_features

TREND_CYCLES = 240  # of the line at most: two and a half days of load; a longer one lags behind a fault
TREND_ROWS_MIN = 10  # fewer points make no line: the agent scores from the tenth reading on
RIDGES = np.logspace(-3, 3, 7)  # of the indicator, chosen by leave-one-out on training rows
LINE_Z = 1.645  # standard errors of the slope to either side: 90 % of a normal law
SLOPE_MIN = 1e-9  # of life per cycle: flatter is no wear at all
STD_MIN = 1e-6  # of a tag that never moves
NEWEST_ROWS = 3  # whose deviation from the line is the score: one row may be noise

BLOCKS = 6  # of a window: trees see each feature's mean over five of its thirty rows
TREES = 150
LEAVES = 15
LEARNING_RATE = 0.08
FOREST_TREES = 100
CHUNK_WINDOWS = 256  # worked on at a time: some 10 MB

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


class LinearDegradation:
    """A line through a health indicator, extrapolated to where training units failed.

    The indicator is ridge regression of the share of life left, 1 new to 0 failed, on the tags and their
    products: products tell load from wear, and what falls with life in proportion falls in a line.
    """

    def __init__(self, tags: Sequence[str], component_type: str, horizon: float) -> None:
        self.spec = FeatureSpec(component_type=component_type, tags=tuple(tags), window_cycles=TREND_CYCLES)
        self._horizon = horizon

    def fit(self, units: Sequence[Unit], stride: int) -> Self:
        """Learn the indicator, where it stands at failure and its noise from units that failed.

        ValueError when none did: there is nothing to extrapolate to.
        """
        failed = [(unit, unit.rul) for unit in units if unit.rul is not None and unit.rul[-1] == 0]
        if not failed:
            raise ValueError(f"none of {len(units)} training units failed; a line needs where to end")
        shares = [rul / max(float(rul[0]), 1.0) for _, rul in failed]
        values = np.concatenate([unit.values[::stride] for unit, _ in failed])
        self._mean = np.nanmean(values, axis=0)
        self._std = np.maximum(np.nanstd(values, axis=0), STD_MIN)
        self._solve(values, np.concatenate([share[::stride] for share in shares]))
        ended = np.concatenate([unit.values[-NEWEST_ROWS:] for unit, _ in failed])
        self._failed = float(np.nanmedian(self.indicate(ended)))
        errors = [self.indicate(unit.values) - share for (unit, _), share in zip(failed, shares, strict=True)]
        self._spread = float(np.sqrt(np.nanmean(np.concatenate(errors) ** 2)))
        return self

    def indicate(self, values: Floats) -> Doubles:
        """Health `(...,)` of rows `(..., T)`; a missing tag is taken for the mean, a row of none is NaN."""
        z = self._standard(values)
        known = self._offset + z @ self._weights + ((z @ self._products) * z).sum(axis=-1)
        health: Doubles = np.asarray(known, np.float64)
        health[~np.isfinite(values).any(axis=-1)] = np.nan
        return health

    def predict(self, raw: Floats) -> Floats:
        """Where each window's line, and lines as steep and as flat as its noise allows, reach failure."""
        line = self._lines(raw)
        reach = [self._reach(line, line.slope + z * line.error) for z in (-LINE_Z, 0.0, LINE_Z)]
        return np.stack(reach, axis=-1).astype(np.float32)

    def score(self, raw: Floats) -> Floats:
        """How far the newest rows are from the window's own line, in the indicator's standard deviations."""
        return np.asarray(self._lines(raw).away / self._spread, np.float32)

    def _standard(self, values: Floats) -> Doubles:
        return np.asarray(np.nan_to_num((values - self._mean) / self._std, nan=0.0), np.float64)

    def _solve(self, values: Floats, share: Floats) -> None:
        """Ridge on z and its products, then as an offset, weights `(T,)` and products `(T, T)`."""
        z, tags = self._standard(values), values.shape[1]
        first, second = np.triu_indices(tags)
        found = RidgeCV(RIDGES).fit(np.hstack([z, z[:, first] * z[:, second]]), share)
        self._offset, self._weights = float(found.intercept_), found.coef_[:tags]
        self._products = np.zeros((tags, tags))
        self._products[first, second] = found.coef_[tags:]

    def _reach(self, line: "_Line", slope: Doubles) -> Doubles:
        left = np.maximum(line.level - self._failed, 0.0) / np.maximum(-slope, SLOPE_MIN)
        return np.minimum(left, self._horizon)

    def _lines(self, raw: Floats) -> "_Line":
        parts = [_line_through(self.indicate(part)) for part in _chunks(raw)]
        return _Line(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class _Line(NamedTuple):
    """Least squares of health on the cycle, a window each: all `(N,)`."""

    level: Doubles  # of the line at the window's last cycle
    slope: Doubles  # of health per cycle; 0 where too few rows are seen
    error: Doubles  # of the slope: one standard error
    away: Doubles  # mean distance of the newest rows from the line


def _line_through(health: Doubles) -> _Line:
    """The line through each row of `health` `(N, W)`, NaN where there is none; newest last."""
    seen = np.isfinite(health)
    count = np.maximum(seen.sum(axis=1), 1)
    age = np.arange(1 - health.shape[1], 1, dtype=np.float64)
    mean_age, mean = (seen * age).sum(axis=1) / count, np.nansum(health, axis=1) / count
    age = np.where(seen, age - mean_age[:, None], 0.0)
    health = np.where(seen, health - mean[:, None], 0.0)
    spread = (age**2).sum(axis=1)
    fits = (count >= TREND_ROWS_MIN) & (spread > 0)
    spread = np.where(fits, spread, 1.0)
    slope = np.where(fits, (age * health).sum(axis=1) / spread, 0.0)
    residual = health - slope[:, None] * age
    variance = (residual**2).sum(axis=1) / np.maximum(count - 2, 1)
    newest = np.maximum(seen[:, -NEWEST_ROWS:].sum(axis=1), 1)
    away = np.abs(residual[:, -NEWEST_ROWS:].sum(axis=1)) / newest
    return _Line(mean - slope * mean_age, slope, np.sqrt(variance / spread), away)


class GradientBoosting:
    """Boosted trees with quantile loss, and an isolation forest, on the network's features.

    Trees take one row: each feature's mean over `BLOCKS` parts of the window, oldest first.
    """

    def __init__(self, spec: FeatureSpec, horizon: float, coverage: float, seed: int) -> None:
        self.spec = spec
        self._horizon = horizon
        self._forest = IsolationForest(n_estimators=FOREST_TREES, random_state=seed)
        self._trees = [
            HistGradientBoostingRegressor(
                loss="quantile", quantile=quantile, max_iter=TREES, max_leaf_nodes=LEAVES,
                learning_rate=LEARNING_RATE, random_state=seed, early_stopping=False,
            )
            for quantile in ((1 - coverage) / 2, 0.5, (1 + coverage) / 2)
        ]  # fmt: skip

    def fit(self, units: Sequence[Unit], stride: int) -> Self:
        """Learn RUL from labelled units' windows; the forest only from normal ones."""
        parts = [
            (unit, unit.rul, *windows(unit, self.spec, stride)) for unit in units if unit.rul is not None
        ]
        rows = self._rows(np.concatenate([raw for _, _, raw, _ in parts]))
        target = np.minimum(np.concatenate([rul[ends] for _, rul, _, ends in parts]), self._horizon)
        normal = np.concatenate([unit.normal[ends] for unit, _, _, ends in parts])
        for trees in self._trees:
            trees.fit(rows, target)
        self._forest.fit(rows[normal])
        return self

    def predict(self, raw: Floats) -> Floats:
        """Quantiles of the RUL, put in order where trees cross."""
        rows = self._rows(raw)
        found = np.stack([trees.predict(rows) for trees in self._trees], axis=-1)
        return np.sort(found.clip(0.0, self._horizon), axis=-1).astype(np.float32)

    def score(self, raw: Floats) -> Floats:
        """How easily a forest isolates the window, 0 to 1 (Liu, Ting and Zhou, ICDM 2008)."""
        return np.asarray(-self._forest.score_samples(self._rows(raw)), np.float32)

    def _rows(self, raw: Floats) -> Floats:
        return np.concatenate([_pooled(window_features(part, self.spec)) for part in _chunks(raw)])


def _pooled(features: Floats) -> Floats:
    """Features `(N, S, F)` to their means over blocks of rows, `(N, BLOCKS * F)`."""
    blocks = np.array_split(np.arange(features.shape[1]), min(BLOCKS, features.shape[1]))
    return np.concatenate([features[:, block].mean(axis=1) for block in blocks], axis=-1)


def _chunks(raw: Floats) -> Iterator[Floats]:
    for start in range(0, max(len(raw), 1), CHUNK_WINDOWS):
        yield raw[start : start + CHUNK_WINDOWS]
