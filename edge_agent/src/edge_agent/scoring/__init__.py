"""Windows to predictions and alerts, with a verified release (onnxruntime only).

Enters: a release's manifest and bytes; windows. Leaves: predictions, alerts.
Never: a model from a path, a number that should have been withheld.
"""

from edge_agent.scoring.alarm_point import Phase, Shelf
from edge_agent.scoring.alerts import AlertRules, Noted, cleared, read_note
from edge_agent.scoring.scorer import Scorer

__all__ = ["AlertRules", "Noted", "Phase", "Scorer", "Shelf", "cleared", "read_note"]
