"""Follows one table of the lake: hands out what has arrived since the last look.

A look reads only the files that are new, so that a page which asks every second costs the same in the
first minute and after a year, and rows that arrive late (a site was cut off) are seen like any other.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable

from control_plane.sinks.lake_tables import TABLES


class TableTail:
    """One table's new rows, as an Arrow table of `columns`. Used by one thread at a time.

    `since` leaves out files that hold nothing younger; `partition` keeps to one value per partition
    column. deltalake's and pyarrow's errors pass through; after one, the next look starts over.
    """

    def __init__(
        self,
        lake: Path,
        schema: str,
        columns: list[str],
        since: datetime | None = None,
        partition: dict[str, str] | None = None,
    ) -> None:
        self._spec = TABLES[schema]
        self._folder = lake / self._spec.name
        self._columns = columns
        self._since = since
        self._partition = partition or {}
        self._table: DeltaTable | None = None
        self._version = -1
        self._seen: set[str] = set()

    def skip(self) -> None:
        """Count all that is there now as seen."""
        self._new_files()

    def look(self) -> pa.Table | None:
        """Rows that arrived since the last look (or `skip`); None when there are none."""
        seen_before = self._seen
        files = self._new_files()
        if not files:
            return None
        try:
            return self._read(files)
        except Exception:
            self._seen, self._version = seen_before, -1
            raise

    def _new_files(self) -> list[str]:
        if self._table is None:
            self._table = DeltaTable(str(self._folder))
        else:
            self._table.update_incremental()
        version = self._table.version()
        if version == self._version:
            return []
        actions = self._actions(self._table)
        chosen = [path for i, path in enumerate(actions["path"]) if self._wanted(actions, i)]
        new = [path for path in chosen if path not in self._seen]
        self._seen, self._version = set(chosen), version
        return new

    def _actions(self, table: DeltaTable) -> dict[str, list[Any]]:
        """The table's files: path, rows, partition values, newest time (absent when nothing is stored)."""
        actions = pa.table(table.get_add_actions(flatten=True))
        wanted = {"path", "num_records", "max.timestamp", *(f"partition.{name}" for name in self._partition)}
        found: dict[str, list[Any]] = actions.select(
            [name for name in actions.column_names if name in wanted]
        ).to_pydict()
        return found

    def _wanted(self, actions: dict[str, list[Any]], index: int) -> bool:
        if not actions["num_records"][index]:
            return False  # the commit that made the table
        if any(actions[f"partition.{name}"][index] != value for name, value in self._partition.items()):
            return False
        if self._since is None or "max.timestamp" not in actions:
            return True
        youngest = actions["max.timestamp"][index]
        return youngest is None or bool(youngest >= self._since)

    def _read(self, files: list[str]) -> pa.Table:
        partitioning = ds.partitioning(
            pa.schema([self._spec.schema.field(name) for name in self._spec.partition_by]), flavor="hive"
        )
        found = ds.dataset(
            [str(self._folder / path) for path in files],
            schema=self._spec.schema,
            format="parquet",
            partitioning=partitioning,
        )
        return found.to_table(columns=self._columns)
