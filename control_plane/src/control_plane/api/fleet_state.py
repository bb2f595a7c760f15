"""The newest known of everything, built up from the lake's rows. Rows may come late, twice or unordered.

Enters: rows of the lake (dictionaries by column). Leaves: the newest row per component or site, alerts
with their two ends joined. Used by one thread at a time.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from control_plane.api.models import AlertStatus, AlertView
from shared.schemas import AlertState, ComponentId

CLEARED_ALERTS_MAX = 500  # bounds memory and pages; standing alerts are never dropped

Row = dict[str, Any]
_BEGINNING = datetime.min.replace(tzinfo=UTC)
_BEGIN = (AlertState.RAISED, AlertState.ESCALATED)  # transitions that say what is wrong
_LEADS_TO = {
    AlertState.RAISED: AlertStatus.RAISED,
    AlertState.ESCALATED: AlertStatus.RAISED,
    AlertState.UNSHELVED: AlertStatus.RAISED,
    AlertState.RETURNED: AlertStatus.RETURNED,
    AlertState.SHELVED: AlertStatus.SHELVED,
    AlertState.CLEARED: AlertStatus.CLEARED,
}


class FleetState:
    """`telemetry`, `predictions` (of the active model) by component; `status` by site."""

    def __init__(self) -> None:
        self.telemetry: dict[ComponentId, Row] = {}
        self.predictions: dict[ComponentId, Row] = {}
        self.status: dict[str, Row] = {}
        self._gaps: dict[tuple[str, int, int], Row] = {}
        self._alerts: dict[str, _Alert] = {}

    def take_telemetry(self, rows: Iterable[Row]) -> None:
        """Keep a row that is newer than the one known of its component."""
        for row in rows:
            _keep_newest(self.telemetry, component_id(row), row)

    def take_predictions(self, rows: Iterable[Row]) -> None:
        """Keep the active model's row where it is newer; a shadow's answers show nowhere."""
        for row in rows:
            if row["mode"] == "active":
                _keep_newest(self.predictions, component_id(row), row)

    def take_status(self, rows: Iterable[Row]) -> None:
        """Keep a site's newest word on itself."""
        for row in rows:
            _keep_newest(self.status, row["site_id"], row)

    def take_gaps(self, rows: Iterable[Row]) -> None:
        """Note rows given up, each gap once."""
        for row in rows:
            self._gaps[row["gap_store_id"], row["from_seq"], row["to_seq"]] = row

    def take_alerts(self, rows: Iterable[Row]) -> None:
        """Join each transition to its alert."""
        for row in rows:
            self._alerts.setdefault(row["alert_id"], _Alert()).take(row)
        self._end_superseded()
        self._drop_old_alerts()

    def rows_given_up(self, site_id: str) -> int:
        """How many rows the site declared lost."""
        return sum(row["count"] for row in self._gaps.values() if row["site_id"] == site_id)

    def alerts(self) -> list[AlertView]:
        """Every alert kept, newest first."""
        views = [alert.view() for alert in self._alerts.values()]
        return sorted(views, key=lambda a: a.raised_at or a.cleared_at or _BEGINNING, reverse=True)

    def _end_superseded(self) -> None:
        """One alert stands for one thing: a site that lost its state raised the same thing anew."""
        newest: dict[tuple[str, ...], _Alert] = {}
        for alert in self._alerts.values():
            if alert.over or alert.first_raised is None:
                continue
            older, newer = sorted((alert, newest.setdefault(alert.point, alert)), key=_begun)
            if older is not newer:
                older.superseded_at = newer.first_raised
            newest[alert.point] = newer

    def _drop_old_alerts(self) -> None:
        cleared = [(alert.last["timestamp"], key) for key, alert in self._alerts.items() if alert.over]
        for _, key in sorted(cleared)[: max(0, len(cleared) - CLEARED_ALERTS_MAX)]:
            del self._alerts[key]


class _Alert:
    """An alert's first raising, the newest row that says what is wrong, and its last transition."""

    def __init__(self) -> None:
        self.first_raised: datetime | None = None
        self.raised: Row | None = None
        self.last: Row = {}
        self.superseded_at: datetime | None = None

    @property
    def status(self) -> AlertStatus:
        return AlertStatus.CLEARED if self.superseded_at else _LEADS_TO[AlertState(self.last["state"])]

    @property
    def over(self) -> bool:
        return self.status is AlertStatus.CLEARED

    @property
    def point(self) -> tuple[str, ...]:
        """What it is about."""
        return (*component_id(self.last), self.last["kind"], self.last["subject"])

    def take(self, row: Row) -> None:
        if not self.last or _order(row) >= _order(self.last):
            self.last = row
        if row["state"] in _BEGIN:
            if self.raised is None or _order(row) >= _order(self.raised):
                self.raised = row
            self.first_raised = min(self.first_raised or row["timestamp"], row["timestamp"])

    def view(self) -> AlertView:
        told = self.raised or self.last  # what was wrong stands in the raising
        names = ("alert_id", "site_id", "reactor_id", "component", "kind", "severity", "subject", "message")
        changed_at = self.superseded_at or self.last["timestamp"]
        return AlertView(
            **{name: told[name] for name in (*names, "value", "threshold", "cycle")},
            **{name: self.last.get(name) for name in ("operator", "reason", "until")},
            event_id=told.get("event_id") or told["alert_id"],
            raised_at=self.first_raised,
            cleared_at=changed_at if self.over else None,
            changed_at=changed_at,
            status=self.status,
        )


def _begun(alert: _Alert) -> datetime:
    return alert.first_raised or _BEGINNING


def component_id(row: Row) -> ComponentId:
    """Where a row comes from."""
    return ComponentId(row["site_id"], row["reactor_id"], row["component"])


def _order(row: Row) -> tuple[datetime, int]:
    return row["timestamp"], row["seq"]


def _keep_newest(known: dict[Any, Row], key: ComponentId | str, row: Row) -> None:
    if key not in known or _order(row) >= _order(known[key]):
        known[key] = row
