"""Alerts to the operator's alarm list.

The list takes a transition as often as it comes, in any order. So neither a repeat after a kill nor the
look at the lake when ingest starts can raise an alert twice.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from control_plane.alerts.lifecycle import Transition
from control_plane.alerts.store import AlertStore
from control_plane.sinks.arrival import CENTRE_STORE, Arrival, Sink
from control_plane.sinks.batch import others
from control_plane.sinks.lake import LakeReader
from shared.envelope import Envelope
from shared.schemas import Alert, AlertState, utc_now

CATCH_UP = timedelta(days=30)  # of the lake at a start: longer than any crash, shorter than alerts are kept

_ORIGIN = ("store_id", "seq", "config_hash")


class AlertSink:
    """A sink: alerts into the list, everything else passes by."""

    def __init__(self, store: AlertStore) -> None:
        self._store = store

    def accept(self, batch: Sequence[Arrival]) -> None:
        """Returns when the batch's alerts are on disk; Retryable when they cannot be now."""
        found = [
            Transition(
                alert=a.record, seq=a.envelope.seq, by_centre=a.envelope.store_id.startswith(CENTRE_STORE)
            )
            for a in others(batch)
            if isinstance(a.record, Alert)
        ]
        if found:
            self._store.take(found)


def catch_up(sink: Sink, store: AlertStore, lake: LakeReader) -> None:
    """Take from the lake what the list may have missed: a kill between the two, an import, a lost file.

    A list that never held anything begins with what stands: nobody is asked to acknowledge what cleared
    before there was a list. Retryable while the lake has no tables.
    """
    columns = ", ".join([*Alert.model_fields, *_ORIGIN])
    rows = lake.rows(
        f"SELECT {columns} FROM alerts WHERE timestamp >= $since",  # noqa: S608 - names are ours
        since=utc_now() - CATCH_UP,
    )
    arrived = [_arrival(row) for row in rows]
    if store.is_empty:
        last = {alert.alert_id: alert.state for alert, _ in sorted(arrived, key=_order)}
        arrived = [(alert, a) for alert, a in arrived if last[alert.alert_id] is not AlertState.CLEARED]
    sink.accept([a for _, a in arrived])


def _arrival(row: dict[str, Any]) -> tuple[Alert, Arrival]:
    alert = Alert.model_validate({name: row[name] for name in Alert.model_fields})
    envelope = Envelope(Alert.SCHEMA, alert.site_id, *(row[name] for name in _ORIGIN))
    return alert, Arrival(alert, alert.outgoing().body, envelope)


def _order(arrived: tuple[Alert, Arrival]) -> tuple[datetime, int]:
    return arrived[0].timestamp, arrived[1].envelope.seq
