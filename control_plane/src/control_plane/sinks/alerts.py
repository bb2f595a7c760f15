"""Alerts to the operator's alarm list.

The list takes the same transition as often as it comes, in any order, so that neither a repeat after a
kill nor a second site of the truth (the lake, at the start) can raise an alert twice.
"""

from collections.abc import Sequence

from control_plane.alerts.lifecycle import Transition
from control_plane.alerts.store import AlertStore
from control_plane.sinks.arrival import Arrival
from shared.schemas import Alert

CENTRE_STORE = "centre"  # how a store id begins where the centre scored, and not the site


class AlertSink:
    """A sink: alerts into the list, everything else passes by."""

    def __init__(self, store: AlertStore) -> None:
        self._store = store

    def accept(self, batch: Sequence[Arrival]) -> None:
        """Returns when the batch's alerts are on disk; Retryable when they cannot be now."""
        found = [
            transition(a.record, a.envelope.store_id, a.envelope.seq)
            for a in batch
            if isinstance(a.record, Alert)
        ]
        if found:
            self._store.take(found)


def transition(alert: Alert, store_id: str, seq: int) -> Transition:
    """A transition of a row of that store."""
    return Transition(alert=alert, seq=seq, by_centre=store_id.startswith(CENTRE_STORE))
