"""Follows one table of the lake: hands out what has arrived since the last look.

A look reads only the commits that are new, so that a page which asks every second costs the same in the
first minute and after a year, and rows that arrive late (a site was cut off) are seen like any other.
What a compaction rewrote is nothing new.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from control_plane.sinks.lake_commits import NOT_BEGUN, CommitsGone, added_files, dataset_of
from control_plane.sinks.lake_tables import TABLES


class TailLost(Exception):
    """It did not look for so long that commits are gone which it has not seen."""


class TableTail:
    """One table's new rows, as an Arrow table of `columns`. Used by one thread at a time.

    `since` leaves out rows that are older, and at the first look files that hold nothing younger;
    `partition` keeps to one value per partition column. deltalake's and pyarrow's errors pass through;
    the next look tries the same again.
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
        self._version = NOT_BEGUN

    def skip(self) -> None:
        """Count all that is there now as seen."""
        self._version = DeltaTable(str(self._folder)).version()

    def look(self) -> pa.Table | None:
        """Rows that arrived since the last look (or `skip`), at the first all; None when there are none.

        TailLost when they cannot be told any more; the look after that is a first one.
        """
        try:
            files, version = self._standing() if self._version == NOT_BEGUN else self._added()
            found = self._read(files) if files else None
        except (CommitsGone, FileNotFoundError) as error:  # or a file was replaced, and removed since
            self._version = NOT_BEGUN
            raise TailLost(str(error)) from error
        self._version = version
        return found

    def _added(self) -> tuple[list[str], int]:
        return added_files(self._folder, self._version, partition=self._partition)

    def _standing(self) -> tuple[list[str], int]:
        """The files that the table has now, and its version."""
        table = DeltaTable(str(self._folder))
        actions = self._actions(table)
        return [path for i, path in enumerate(actions["path"]) if self._wanted(actions, i)], table.version()

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
        found = dataset_of(self._folder.parent, self._spec, files)
        rows = None if self._since is None else pc.field("timestamp") >= self._since
        return found.to_table(columns=self._columns, filter=rows)
