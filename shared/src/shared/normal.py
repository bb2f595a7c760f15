"""What would be normal in place of what was read: a window at the references of its regimes. Pure."""

import numpy as np
from numpy.typing import NDArray

from shared.features import FeatureSpec
from shared.features.regimes import nearest
from shared.schemas import Manifest

Floats = NDArray[np.float32]


def normal_window(values: Floats, manifest: Manifest) -> Floats:
    """The raw window `(W, T)` with every value there put to what is usual of its tag in the row's regime."""
    spec = manifest.feature_spec
    usual = np.array([manifest.references[tag].normal for tag in spec.tags], np.float32).T
    return np.where(np.isfinite(values), usual[regimes_of(values, spec)], np.float32(np.nan))


def regimes_of(values: Floats, spec: FeatureSpec) -> NDArray[np.intp]:
    """Number of the regime of each row of `(..., T)`; 0 where there is one, or it cannot be told."""
    found = spec.normalisation
    if found is None or not found.regime_tags:
        return np.zeros(values.shape[:-1], np.intp)
    at = [spec.tags.index(tag) for tag in found.regime_tags]
    points = values[..., at].astype(np.float64)
    return nearest(points, np.array(found.centres, np.float64), np.array(found.regime_scale, np.float64))
