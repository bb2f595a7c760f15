"""The scores behind `AnomalyDetector`: how far a point lies from the normal ones, by four methods."""

from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

RIDGE = 1e-6  # of each tag's variance: tags that hang together exactly would have no inverse
SPREAD_MIN = 1e-6  # standard deviation of a tag that never moved, in its unit
EXPLAINED_VARIANCE = 0.85  # of the principal components that are kept; SKAB's published T2+Q has the same
TREES = 100  # scikit-learn's default; more changes a score by less than its noise
NEIGHBOURS = 20  # scikit-learn's default

Floats = NDArray[np.float64]


class Model(Protocol):
    """`fit` to normal points `(N, D)`; `score` `(N,)`, larger is less normal."""

    def fit(self, points: Floats, limit_quantile: float) -> Self:
        """Learn what is normal; `limit_quantile` of the training scores is a statistic's limit."""

    def score(self, points: Floats) -> Floats:
        """One number a point."""


class Mahalanobis:
    """Distance from the cloud of normal points, in standard deviations.

    After `fit`: `mean` `(D,)`, `whitening` `(D, D)`. `away @ whitening` has components of unit variance
    that do not hang together: the sum of their squares is as exact as a float32 allows, where the
    quadratic form of the inverse covariance cancels large numbers.

    `drift_rows` > 0 widens the cloud by how far each tag wanders in so many rows: the points must then be
    one recording in the order of time. `shrinkage` from 0 to 1 takes that share off what tags have in common:
    for few or smoothed points, whose covariances are mostly chance.
    """

    def __init__(self, drift_rows: float = 0.0, shrinkage: float = 0.0) -> None:
        self.drift_rows = drift_rows
        self.shrinkage = shrinkage

    def fit(self, points: Floats, limit_quantile: float) -> Self:  # noqa: ARG002 - one statistic, no own limit
        """Learn the cloud."""
        covariance = np.atleast_2d(np.cov(points.T, bias=True))
        variance = np.diag(covariance)
        spread = (1 - self.shrinkage) * covariance + self.shrinkage * np.diag(variance)
        widening = RIDGE * np.maximum(variance, SPREAD_MIN**2)
        if self.drift_rows:
            widening = widening + drift_variance(points, self.drift_rows)
        self.mean: Floats = points.mean(axis=0)
        self.whitening: Floats = np.linalg.inv(np.linalg.cholesky(spread + np.diag(widening))).T
        return self

    def score(self, points: Floats) -> Floats:
        """Mahalanobis distance, dimensionless."""
        distance: Floats = np.linalg.norm((points - self.mean) @ self.whitening, axis=1)
        return distance


class PrincipalComponents:
    """Hotelling's T2 inside the plane of the first principal components, Q (SPE) off it.

    Jackson and Mudholkar 1979. Both are on standardised tags and squared, as usual; `score` is the larger of
    the two distances (their square roots), each as a multiple of its own limit.
    """

    def __init__(self, explained_variance: float = EXPLAINED_VARIANCE) -> None:
        self.explained_variance = explained_variance

    def fit(self, points: Floats, limit_quantile: float) -> Self:
        """Learn the plane; `limit_quantile` of the training points lies within each limit."""
        self.mean: Floats = points.mean(axis=0)
        self.std: Floats = np.maximum(points.std(axis=0), SPREAD_MIN)
        variance, axes = np.linalg.eigh(
            np.cov(((points - self.mean) / self.std).T).reshape(2 * [len(self.std)])
        )
        variance, axes = variance[::-1], axes[:, ::-1]
        kept = int(np.searchsorted(np.cumsum(variance) / variance.sum(), self.explained_variance)) + 1
        self.inside: Floats = axes[:, :kept] / np.sqrt(np.maximum(variance[:kept], RIDGE))
        self.off: Floats = axes[:, kept:]
        t2, q = self.statistics(points)
        self.t2_limit = float(np.quantile(t2, limit_quantile))
        self.q_limit = max(float(np.quantile(q, limit_quantile)), RIDGE)
        return self

    def statistics(self, points: Floats) -> tuple[Floats, Floats]:
        """`(T2, Q)`, each `(N,)`, dimensionless."""
        away = (points - self.mean) / self.std
        return np.square(away @ self.inside).sum(axis=1), np.square(away @ self.off).sum(axis=1)

    def score(self, points: Floats) -> Floats:
        """The larger of T2 and Q as a distance over its limit: above 1 is beyond one of them."""
        t2, q = self.statistics(points)
        return np.sqrt(np.maximum(t2 / self.t2_limit, q / self.q_limit))


class IsolationTrees:
    """Isolation Forest (Liu, Ting and Zhou 2008): how few random cuts set a point apart, 0 to 1."""

    def __init__(self, seed: int = 0) -> None:
        from sklearn.ensemble import IsolationForest  # seconds to import, as below

        self.forest = IsolationForest(n_estimators=TREES, random_state=seed)

    def fit(self, points: Floats, limit_quantile: float) -> Self:  # noqa: ARG002 - one statistic, no own limit
        """Grow the trees."""
        self.forest.fit(points)
        return self

    def score(self, points: Floats) -> Floats:
        """Minus scikit-learn's `score_samples`."""
        return -np.asarray(self.forest.score_samples(points), np.float64)


class Neighbours:
    """Local Outlier Factor (Breunig et al. 2000), for comparison: it keeps every training point."""

    def fit(self, points: Floats, limit_quantile: float) -> Self:  # noqa: ARG002 - one statistic, no own limit
        """Remember the points."""
        from sklearn.neighbors import LocalOutlierFactor

        self.factor = LocalOutlierFactor(n_neighbors=min(NEIGHBOURS, len(points) - 1), novelty=True).fit(
            points
        )
        return self

    def score(self, points: Floats) -> Floats:
        """The outlier factor; about 1 among normal points."""
        return -np.asarray(self.factor.score_samples(points), np.float64)


def drift_variance(points: Floats, rows: float) -> Floats:
    """How much variance each tag gains in `rows` rows if it wanders on as it did in `points`; `(D,)`.

    Twice the slope of the semivariogram between an eighth and a half of the rows. Noise that does not wander
    has a flat one and gains nothing; a random walk gains its variance a row. A falling slope counts as none.
    """
    near, far = max(1, len(points) // 8), max(2, len(points) // 2)
    return 2 * rows * np.maximum(_semivariance(points, far) - _semivariance(points, near), 0.0) / (far - near)


def _semivariance(points: Floats, lag: int) -> Floats:
    """Half the mean square of what each tag changes within `lag` rows (Matheron 1963)."""
    half: Floats = np.square(points[lag:] - points[:-lag]).mean(axis=0) / 2
    return half
