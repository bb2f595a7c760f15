"""The newest known of everything, built up from the lake's rows. Rows may come late, twice or unordered.

Enters: rows of the lake (dictionaries by column). Leaves: the newest row per component or site.
Used by one thread at a time.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from shared.schemas import ComponentId

Row = dict[str, Any]


class FleetState:
    """`telemetry`, `predictions` (of the active model) by component; `status` by site."""

    def __init__(self) -> None:
        self.telemetry: dict[ComponentId, Row] = {}
        self.predictions: dict[ComponentId, Row] = {}
        self.status: dict[str, Row] = {}
        self._gaps: dict[tuple[str, int, int], Row] = {}

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

    def rows_given_up(self, site_id: str) -> int:
        """How many rows the site declared lost."""
        return sum(row["count"] for row in self._gaps.values() if row["site_id"] == site_id)


def component_id(row: Row) -> ComponentId:
    """Where a row comes from."""
    return ComponentId(row["site_id"], row["reactor_id"], row["component"])


def _order(row: Row) -> tuple[datetime, int]:
    return row["timestamp"], row["seq"]


def _keep_newest(known: dict[Any, Row], key: ComponentId | str, row: Row) -> None:
    if key not in known or _order(row) >= _order(known[key]):
        known[key] = row
