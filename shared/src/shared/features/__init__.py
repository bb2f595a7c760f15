"""The one feature implementation, for training and scoring alike (invariant 6).

Enters: raw windows, NaN where a value had bad quality. Leaves: float32 features, finite everywhere.
Never: fitted state (that lives in the model's graph), clocks, I/O, anything but numpy.
"""

from shared.features.spec import WINDOW_CYCLES, FeatureSpec
from shared.features.windows import FEATURES_PER_TAG, window_features

__all__ = ["FEATURES_PER_TAG", "WINDOW_CYCLES", "FeatureSpec", "window_features"]
