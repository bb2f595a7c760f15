"""Anomaly detection (PRD 4.5): trained on normal cycles only, with a stated budget of false alarms."""

from collections.abc import Sequence
from typing import Literal, Self, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from control_plane.training.anomaly_models import (
    Floats,
    IsolationTrees,
    Mahalanobis,
    Model,
    Neighbours,
    PrincipalComponents,
)

FALSE_ALARM_BUDGET = 1.0  # per 1,000 normal cycles, before the margin
DISTANCE_MARGIN = 4 / 3  # over that quantile, for distances; measured on SKAB's pump rig with the quantile
TIE = 1e-4  # of a score: no training score may lie nearer to the threshold, or float32 decides its label
SECONDS_PER_MONTH = 30.44 * 86_400
LABELS = frozenset(
    {"anomaly", "changepoint", "fault", "is_anomaly", "label", "normal", "performance", "true_RUL"}
)

Method = Literal["mahalanobis", "pca", "isolation_forest", "lof"]
Points: TypeAlias = ArrayLike | pd.DataFrame


class AnomalyDetector:
    """Scores points by how unlike normal ones they are; larger is less normal.

    `method`: `mahalanobis`, `pca` (Hotelling's T2 and Q), `isolation_forest`, or `lof` (for comparison, not
    exported). After `fit`, `threshold` may be set to any number. `false_alarm_budget` is per 1,000 normal
    cycles; the threshold is that quantile of the normal scores times `margin` (distances 4/3, else 1).
    `drift_rows` and `shrinkage` are those of `Mahalanobis`.
    """

    def __init__(
        self,
        method: Method = "mahalanobis",
        *,
        false_alarm_budget: float = FALSE_ALARM_BUDGET,
        margin: float | None = None,
        drift_rows: float = 0.0,
        shrinkage: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not 0 < false_alarm_budget < 1000:
            raise ValueError(
                f"false_alarm_budget is {false_alarm_budget:g}; between 0 and 1,000 alarms per 1,000 cycles"
            )
        if (drift_rows or shrinkage) and method != "mahalanobis":
            raise ValueError(f"drift_rows and shrinkage are for the method mahalanobis; found {method}")
        self.method: Method = method
        self.false_alarm_budget = false_alarm_budget
        self.margin = margin if margin is not None else _margin(method)
        self.model = _model(method, drift_rows, shrinkage, seed)
        self.columns: tuple[str, ...] | None = None
        self.dimensions: int | None = None

    def fit(
        self, points: Points, calibration: Points | None = None, is_normal: ArrayLike | None = None
    ) -> Self:
        """Learn from normal `points` `(N, D)`; set the threshold on `calibration` (else on `points`).

        `is_normal` `(N,)` marks the points: one that is not normal is refused, as is a column of labels.
        ValueError when points are not numbers, or not more than there are dimensions.
        """
        self.columns = tuple(map(str, points.columns)) if isinstance(points, pd.DataFrame) else None
        self.dimensions = None
        _refuse_label_columns(self.columns or ())
        normal = self._values(points)
        _refuse_abnormal(len(normal), is_normal)
        if len(normal) <= normal.shape[1]:
            raise ValueError(
                f"found {len(normal)} normal points of {normal.shape[1]} dimensions; more are needed"
            )
        self.dimensions = normal.shape[1]
        self.model.fit(normal, self._quantile)
        return self.calibrate(normal if calibration is None else self._values(calibration))

    def calibrate(self, normal: Points, false_alarm_budget: float | None = None) -> Self:
        """Set the threshold anew on normal points `(N, D)`, with another budget if one is given."""
        if false_alarm_budget is not None:
            self.false_alarm_budget = false_alarm_budget
        judged = self.score(normal)
        self.budget_resolved = len(judged) * self.false_alarm_budget >= 1000
        self.threshold = _clear_of_ties(self.margin * float(np.quantile(judged, self._quantile)), judged)
        return self

    def score(self, points: Points) -> Floats:
        """The score of each point `(N,)`: a distance for the distance methods, else the method's own unit."""
        return self.model.score(self._values(points))

    def predict(self, points: Points) -> NDArray[np.bool_]:
        """True where the score is beyond the threshold."""
        return self.score(points) > self.threshold

    @property
    def mean(self) -> Floats:
        """Centre of the normal cloud `(D,)`; `mahalanobis` only."""
        return self._cloud().mean

    @property
    def whitening(self) -> Floats:
        """`(D, D)`; `mahalanobis` only, see `Mahalanobis`."""
        return self._cloud().whitening

    @property
    def _quantile(self) -> float:
        return 1 - self.false_alarm_budget / 1000

    def _cloud(self) -> Mahalanobis:
        if not isinstance(self.model, Mahalanobis):
            raise ValueError(f"a detector of the method {self.method} has no cloud")
        return self.model

    def _values(self, points: Points) -> Floats:
        """The numbers `(N, D)`, a table's columns in the order of `fit`."""
        if isinstance(points, pd.DataFrame):
            points = self._in_order(points)
        values = np.asarray(points, np.float64)
        if values.ndim != 2 or not values.shape[1]:
            raise ValueError(f"points have the shape {values.shape}; (N, D) is right")
        if self.dimensions not in (None, values.shape[1]):
            raise ValueError(
                f"points have {values.shape[1]} dimensions; the detector learned {self.dimensions}"
            )
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            name = repr(self.columns[column]) if self.columns else column
            raise ValueError(f"row {row}, column {name} is {values[row, column]}; fill or drop it first")
        return values

    def _in_order(self, table: pd.DataFrame) -> pd.DataFrame:
        if self.columns is None:
            return table
        missing = [name for name in self.columns if name not in table.columns]
        if missing:
            found = ", ".join(map(str, table.columns))
            raise ValueError(f"column {missing[0]!r} is missing; the table has {found}")
        for name in self.columns:
            if not pd.api.types.is_numeric_dtype(table[name]):
                raise ValueError(f"column {name!r} holds {table[name].dtype}; numbers are needed")
        return table[list(self.columns)]


def monthly_budget(false_alarms: float, cycle_s: float) -> float:
    """So many false alarms a month, as a budget per 1,000 normal cycles of `cycle_s` seconds."""
    if not (false_alarms > 0 and cycle_s > 0):
        raise ValueError(f"found {false_alarms:g} alarms and cycles of {cycle_s:g} s; both must be above 0")
    return false_alarms * 1000 * cycle_s / SECONDS_PER_MONTH


def _margin(method: Method) -> float:
    return DISTANCE_MARGIN if method in ("mahalanobis", "pca") else 1.0


def _model(method: Method, drift_rows: float, shrinkage: float, seed: int) -> Model:
    match method:
        case "mahalanobis":
            return Mahalanobis(drift_rows, shrinkage)
        case "pca":
            return PrincipalComponents()
        case "isolation_forest":
            return IsolationTrees(seed)
        case "lof":
            return Neighbours()
    raise ValueError(f"found the method {method!r}; mahalanobis, pca, isolation_forest and lof are known")


def _refuse_label_columns(columns: Sequence[str]) -> None:
    labels = [name for name in columns if name in LABELS]
    if labels:
        raise ValueError(f"column {labels[0]!r} is a label, and the detector learns without: drop it")


def _refuse_abnormal(points: int, is_normal: ArrayLike | None) -> None:
    if is_normal is None:
        return
    marked = np.asarray(is_normal, bool)
    if marked.shape != (points,):
        raise ValueError(f"is_normal has the shape {marked.shape}; there are {points} points")
    if not marked.all():
        raise ValueError(
            f"{int((~marked).sum())} of {points} points are marked not normal; give only normal ones"
        )


def _clear_of_ties(threshold: float, judged: Floats) -> float:
    """The threshold, or where a score lies on it the next free place above."""
    room = TIE * abs(threshold)
    if not (np.abs(judged - threshold) < room).any():
        return threshold
    ordered = np.append(np.unique(judged[judged >= threshold - room]), np.inf)
    return float(ordered[int(np.argmax(np.diff(ordered) > 2 * room))] + room)
