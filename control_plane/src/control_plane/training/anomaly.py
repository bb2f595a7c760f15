"""Anomaly detection by Mahalanobis distance (PRD 4.5), trained on normal cycles only."""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import EmpiricalCovariance

THRESHOLD_QUANTILE = 0.999  # false-alarm budget: one normal cycle in a thousand, before the margin
THRESHOLD_MARGIN = 4 / 3  # over that quantile; measured on SKAB's pump rig together with the quantile
RIDGE = 1e-6  # of the mean variance: tags that hang together exactly would have no inverse

Floats = NDArray[np.float64]


class AnomalyDetector:
    """Distance from the cloud of normal points, in standard deviations.

    After `fit`: `mean` `(D,)`, `whitening` `(D, D)`, `threshold`. `away @ whitening` has components of
    unit variance that do not hang together: the sum of their squares is as exact as a float32 allows,
    where the quadratic form of the inverse covariance cancels large numbers.
    """

    def fit(self, normal: Floats, calibration: Floats | None = None) -> Self:
        """Learn the cloud from `normal` `(N, D)`; set the threshold on `calibration` (else on `normal`).

        ValueError when there are not more points than dimensions.
        """
        if len(normal) <= normal.shape[1]:
            raise ValueError(
                f"found {len(normal)} normal points of {normal.shape[1]} dimensions; more are needed"
            )
        covariance = EmpiricalCovariance(store_precision=False).fit(normal)
        spread = covariance.covariance_
        ridge = RIDGE * np.trace(spread) / len(spread) * np.eye(len(spread))
        self.mean: Floats = covariance.location_
        self.whitening: Floats = np.linalg.inv(np.linalg.cholesky(spread + ridge)).T
        judged = self.score(normal if calibration is None else calibration)
        self.threshold = float(THRESHOLD_MARGIN * np.quantile(judged, THRESHOLD_QUANTILE))
        return self

    def score(self, points: Floats) -> Floats:
        """Mahalanobis distance `(N,)`, dimensionless."""
        distance: Floats = np.linalg.norm((points - self.mean) @ self.whitening, axis=1)
        return distance

    def predict(self, points: Floats) -> NDArray[np.bool_]:
        """True where the point is beyond the threshold."""
        return self.score(points) > self.threshold
