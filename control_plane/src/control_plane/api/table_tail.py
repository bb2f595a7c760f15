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

from control_plane.sinks.lake_commits import NOT_BEGUN, CommitsGone, LakeFile, TableCommits, standing
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
        self._commits = TableCommits(lake, TABLES[schema])
        self._columns = columns
        self._since = since
        self._partition = partition or {}
        self._version = NOT_BEGUN

    def skip(self) -> None:
        """Count all that is there now as seen."""
        self._version = self._commits.opened().version()

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

    def _added(self) -> tuple[list[LakeFile], int]:
        return self._commits.added(self._version, partition=self._partition)

    def _standing(self) -> tuple[list[LakeFile], int]:
        """The files that the table has now, and its version."""
        table = self._commits.opened()
        held = standing(table)
        return [file for i, file in enumerate(held["file"]) if self._wanted(held, i)], table.version()

    def _wanted(self, held: dict[str, list[Any]], index: int) -> bool:
        if not held["num_records"][index]:
            return False  # the commit that made the table
        if any(held[f"partition.{name}"][index] != value for name, value in self._partition.items()):
            return False
        if self._since is None or "max.timestamp" not in held:
            return True
        youngest = held["max.timestamp"][index]
        return youngest is None or bool(youngest >= self._since)

    def _read(self, files: list[LakeFile]) -> pa.Table:
        rows = None if self._since is None else pc.field("timestamp") >= self._since
        return self._commits.rows_of(files).to_table(columns=self._columns, filter=rows)
