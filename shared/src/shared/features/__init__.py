"""The one feature implementation, for training and scoring alike (invariant 6).

Enters: raw windows, NaN where a value had bad quality. Leaves: float32 features, finite everywhere.
Never: fitted state (that lives in the model's graph), clocks, I/O, anything but numpy.
"""

from shared.features.spec import FeatureSpec

__all__ = ["FeatureSpec"]
