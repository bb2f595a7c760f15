"""`/alerts`: what stands, what an operator put aside, and what has passed."""

from control_plane.api.models import AlertList, AlertStatus, FleetSnapshot
from control_plane.console.alert_rows import AlertRows
from control_plane.console.frame import Frame
from control_plane.console.parts import Text, box

ROWS_MAX = 200


class AlertsPage:
    """The page; `show` brings it up to date."""

    def __init__(self) -> None:
        self._frame = Frame("Alerts")
        with self._frame.content:
            with box("page-head"):
                Text("Alerts", "page-title", "h1")
            Text("Standing", "section-title", "h2")
            self._standing = AlertRows(ROWS_MAX, "No alert is standing.")
            Text("Shelved", "section-title", "h2")
            self._shelved = AlertRows(ROWS_MAX, "No alert is shelved.")
            Text("Cleared", "section-title", "h2")
            self._cleared = AlertRows(ROWS_MAX, "No alert has been cleared yet.")

    def show(self, alerts: AlertList, snapshot: FleetSnapshot) -> None:
        """Standing alerts, then shelved and cleared ones, newest first."""
        self._frame.show(snapshot)
        self._standing.show([a for a in alerts.alerts if a.standing], snapshot.taken_at)
        for rows, status in ((self._shelved, AlertStatus.SHELVED), (self._cleared, AlertStatus.CLEARED)):
            rows.show([a for a in alerts.alerts if a.status is status], snapshot.taken_at)
