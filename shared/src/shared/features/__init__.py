"""The one feature implementation, for training and scoring alike (invariant 6).

Enters: raw windows, NaN where a value had bad quality. Leaves: float32 features, finite everywhere.
Never: state fitted anywhere but in the spec or the model's graph, clocks, I/O, anything but numpy.
"""

from shared.features.regimes import fit_normalisation
from shared.features.spec import GROUPS, WINDOW_CYCLES, FeatureSpec, Group, Normalisation
from shared.features.windows import window_features

__all__ = [
    "GROUPS",
    "WINDOW_CYCLES",
    "FeatureSpec",
    "Group",
    "Normalisation",
    "fit_normalisation",
    "window_features",
]
