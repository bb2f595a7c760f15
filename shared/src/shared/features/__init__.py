"""The one feature implementation, for training and scoring alike (invariant 6).

Enters: raw windows, NaN where a value had bad quality. Leaves: float32 features, finite everywhere.
Never: state fitted anywhere but in the spec or the model's graph, clocks, I/O, anything but numpy.
"""

from shared.features.regimes import fit_normalisation
from shared.features.spec import GROUPS, WINDOW_CYCLES, FeatureSpec, Group, Normalisation
from shared.features.stream import FeatureStream
from shared.features.units import BASELINE_ROWS, UnitStream, unit_columns, unit_features, unit_spec
from shared.features.windows import history_features, window_features

__all__ = [
    "BASELINE_ROWS",
    "GROUPS",
    "WINDOW_CYCLES",
    "FeatureSpec",
    "FeatureStream",
    "Group",
    "Normalisation",
    "UnitStream",
    "fit_normalisation",
    "history_features",
    "unit_columns",
    "unit_features",
    "unit_spec",
    "window_features",
]
