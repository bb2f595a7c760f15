"""The SKAB benchmark: per file the first rows train, the rest is judged; points pooled over all files.

Point for point, without point adjustment (a found anomaly counts only where it was found).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from control_plane.training.anomaly import AnomalyDetector, Method
from control_plane.training.skab_files import Floats, Recording

SETTINGS = "skab_settings.yaml"  # fixed before any file was scored
STD_MIN = 1e-6  # of a tag that never moves
PUBLISHED_CONTAMINATION = 0.0005  # SKAB's notebook `isolation_forest`: with random_state 0 and a median of 3
PUBLISHED_MEDIAN_ROWS = 3

Flags = NDArray[np.bool_]
Judge = Callable[[Floats], Floats]  # test rows (n, S) -> score over threshold (n,); above 1 is an alarm
Fit = Callable[[Floats], Judge]  # training rows (m, S) -> a judge that learns no more


@dataclass(frozen=True)
class Settings:
    """How our row is made; `skab_settings.yaml` says why."""

    train_rows: int
    clip_std: float
    ewma_weight: float
    drift_rows: float
    shrinkage: float
    false_alarm_budget: float
    margin: float


@dataclass(frozen=True)
class Counts:
    """Points of one file or of all: found, false alarms, missed, rightly quiet."""

    found: int = 0
    false: int = 0
    missed: int = 0
    quiet: int = 0

    @classmethod
    def of(cls, alarms: Flags, anomalous: Flags) -> "Counts":
        """Count alarms `(n,)` against labels `(n,)`."""
        return cls(
            int((alarms & anomalous).sum()),
            int((alarms & ~anomalous).sum()),
            int((~alarms & anomalous).sum()),
            int((~alarms & ~anomalous).sum()),
        )

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.found + other.found,
            self.false + other.false,
            self.missed + other.missed,
            self.quiet + other.quiet,
        )

    @property
    def points(self) -> int:
        """How many were judged."""
        return self.found + self.false + self.missed + self.quiet

    @property
    def f1(self) -> float:
        """0 to 1; 0 where there is nothing to find and nothing was said."""
        return 2 * self.found / max(1, 2 * self.found + self.false + self.missed)

    @property
    def far(self) -> float:
        """False alarms, percent of the normal points."""
        return 100 * self.false / max(1, self.false + self.quiet)

    @property
    def mar(self) -> float:
        """Missed alarms, percent of the anomalous points."""
        return 100 * self.missed / max(1, self.missed + self.found)


@dataclass(frozen=True)
class Row:
    """One line of the table: the counts of each file, in the order of the recordings."""

    name: str
    per_file: tuple[Counts, ...]

    @property
    def pooled(self) -> Counts:
        """Over all files."""
        return sum(self.per_file, Counts())


def load_settings() -> Settings:
    """The committed settings."""
    text = resources.files("control_plane.training").joinpath(SETTINGS).read_text()
    return Settings(**yaml.safe_load(text))


def benchmark(recordings: Sequence[Recording], settings: Settings) -> list[Row]:
    """Ours first, then what it stands beside."""
    fits = {
        "EWMA + Mahalanobis (ours)": fit_level(settings),
        "EWMA + PCA T2 and Q": fit_level(settings, "pca"),
        "EWMA + isolation forest": fit_level(settings, "isolation_forest"),
        "EWMA + local outlier factor": fit_level(settings, "lof"),
        "isolation forest, as published": fit_published_forest,
        "always alarm": lambda _: lambda test: np.full(len(test), np.inf),
    }
    return [
        Row(name, tuple(_counts(fit, recording) for recording in recordings)) for name, fit in fits.items()
    ]


def judge_ours(recording: Recording, settings: Settings) -> Floats:
    """Our score over its threshold for each test row of a recording."""
    return fit_level(settings)(recording.training)(recording.test)


def fit_level(settings: Settings, method: Method = "mahalanobis") -> Fit:
    """What a release does: standardise on the training rows, clip, smooth, then `AnomalyDetector`."""
    return lambda training: LevelJudge(training, settings, method)


class LevelJudge:
    """A detector of the training rows' level, which goes on from them into the test rows."""

    def __init__(self, training: Floats, settings: Settings, method: Method = "mahalanobis") -> None:
        self.training, self.settings = training, settings
        self.mean, self.std = training.mean(axis=0), np.maximum(training.std(axis=0), STD_MIN)
        self.detector = _detector(method, settings).fit(self._levels(training))

    def __call__(self, test: Floats) -> Floats:
        """Score over threshold of each test row, from it and the rows before it."""
        levels = self._levels(np.vstack([self.training, test]))[len(self.training) :]
        return self.detector.score(levels) / self.detector.threshold

    def _levels(self, rows: Floats) -> Floats:
        clip = self.settings.clip_std
        return level(np.clip((rows - self.mean) / self.std, -clip, clip), self.settings.ewma_weight)


def level(values: Floats, weight: float) -> Floats:
    """Causal exponentially weighted mean of all rows so far `(n, S)`: the level of a release's graph."""
    smoothed: Floats = pd.DataFrame(values).ewm(alpha=weight).mean().to_numpy()
    return smoothed


def fit_published_forest(training: Floats) -> Judge:
    """Isolation Forest with the settings of SKAB's own notebook, which its leaderboard shows."""
    forest = IsolationForest(contamination=PUBLISHED_CONTAMINATION, random_state=0).fit(training)

    def judge(test: Floats) -> Floats:
        outside = pd.Series((forest.predict(test) == -1).astype(float))
        smoothed: Floats = outside.rolling(PUBLISHED_MEDIAN_ROWS).median().fillna(0.0).to_numpy(np.float64)
        return 2.0 * smoothed

    return judge


def _detector(method: Method, settings: Settings) -> AnomalyDetector:
    if method != "mahalanobis":
        return AnomalyDetector(method, false_alarm_budget=settings.false_alarm_budget)
    return AnomalyDetector(
        method,
        false_alarm_budget=settings.false_alarm_budget,
        margin=settings.margin,
        drift_rows=settings.drift_rows,
        shrinkage=settings.shrinkage,
    )


def _counts(fit: Fit, recording: Recording) -> Counts:
    """The judge has learned before it is given the test rows, and never sees a label."""
    judge = fit(recording.training)
    return Counts.of(judge(recording.test) > 1, recording.anomalous)
