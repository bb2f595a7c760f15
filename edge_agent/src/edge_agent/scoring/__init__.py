"""Windows to predictions and alerts, with a verified release (onnxruntime only).

Enters: a release's manifest and bytes; windows. Leaves: predictions, alerts.
Never: a model from a path, a number that should have been withheld.
"""

from edge_agent.scoring.alerts import AlertRules
from edge_agent.scoring.scorer import Scorer

__all__ = ["AlertRules", "Scorer"]
