"""InfluxDB follows the lake: what the lake has committed is written there, from where it came to last.

So a server that is away holds nothing up and loses nothing, and neither does a death of this process: the
mark moves after the points are written, and a point that is written twice is the same point.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import structlog
from deltalake.exceptions import DeltaError, TableNotFoundError

from control_plane.sinks.arrival import Arrival
from control_plane.sinks.influx import BATCH_POINTS_MAX, RETRY_AFTER_S, InfluxWriter
from control_plane.sinks.influx_points import LINES, lines_of
from control_plane.sinks.lake_commits import NOT_BEGUN, CommitsGone, LakeFile, TableCommits, standing
from control_plane.sinks.lake_place import plain
from control_plane.sinks.lake_tables import TABLES
from shared.errors import Retryable

FILE_NAME = "influx.json"
COMMITS_A_STEP_MAX = 50  # then the mark moves: what a death repeats
LOOK_AGAIN_S = 1.0  # for commits that nobody told of
STOP_DEADLINE_S = 5.0  # for the write in hand
COMMIT_TAKES_MS = 600_000  # between a file's writing and its commit, at most

Wanted = Callable[[str, str], bool]  # by schema and `site/reactor/component`

log = structlog.get_logger()


class Mark(NamedTuple):
    """All of a table up to `version` is in InfluxDB; that commit is of `time_ms` (of 1970, UTC)."""

    version: int = NOT_BEGUN
    time_ms: int = 0


def everything(_schema: str, _key: str) -> bool:
    """Where no route says otherwise."""
    return True


class InfluxFeed:
    """Brings a lake's telemetry, predictions and alerts to InfluxDB; one at a time over a lake.

    A sink that takes everything at once, because it reads it from the lake. Run it as a context manager;
    what is `wanted` is all where nothing is said.
    """

    def __init__(self, lake: Path, writer: InfluxWriter, wanted: Wanted = everything) -> None:
        self._lake, self._writer, self._wanted = lake, writer, wanted
        self._tables = {schema: TableCommits(lake, TABLES[schema]) for schema in LINES}
        self._behind = False
        self._news, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="influx", daemon=True)

    def __enter__(self) -> "InfluxFeed":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._news.set()
        self._thread.join(STOP_DEADLINE_S)

    def accept(self, batch: Sequence[Arrival]) -> None:  # noqa: ARG002 - a sink's; the lake has it
        """Look at the lake now. Never raises, never waits."""
        self._news.set()

    def step(self) -> bool:
        """Write what is new since the mark, or the first part of it; whether there was any.

        Retryable when InfluxDB or the lake is away; what was written by then is written again.
        """
        moved = False
        marks = self._marks()
        try:
            for schema in LINES:
                before = marks.get(schema, Mark())
                marks[schema] = self._bring(schema, before)
                if marks[schema] != before:
                    self._save(marks)
                    moved = True
        except (DeltaError, pa.ArrowException, OSError) as error:
            raise Retryable(f"the lake under {self._lake} cannot be read: {plain(error)}") from error
        return moved

    def _run(self) -> None:
        while not self._stop.is_set():
            self._news.clear()
            try:
                moved = self.step()
            except Exception as error:  # whatever it is, the lake must go on, and somebody should know
                self._trouble(error)
                self._stop.wait(RETRY_AFTER_S)
                continue
            if self._behind:
                log.info("InfluxDB is written again", rejected=self._writer.rejected)
                self._behind = False
            if not moved:
                self._news.wait(LOOK_AGAIN_S)

    def _trouble(self, error: Exception) -> None:
        if not isinstance(error, Retryable):
            log.error("InfluxDB is not written", exc_info=error)
        elif not self._behind:
            log.warning("InfluxDB is behind; the lake has what it misses", reason=str(error))
        self._behind = True

    def _bring(self, schema: str, mark: Mark) -> Mark:
        """Write a part of one table; returns up to where it is written now."""
        table, begun_ms = self._tables[schema], int(time.time() * 1000)
        try:
            if mark.version == NOT_BEGUN:
                raise CommitsGone
            files, version = table.added(mark.version, COMMITS_A_STEP_MAX)
            self._write(schema, files)
        except (CommitsGone, FileNotFoundError):
            files, version = self._standing(table, mark)
            self._write(schema, files)
        if version == mark.version:
            return mark
        # None: old, and in a checkpoint only: the table stood still since
        return Mark(version, table.committed_ms(version) or begun_ms)

    def _standing(self, table: TableCommits, mark: Mark) -> tuple[list[LakeFile], int]:
        """Every file that may hold a row which came after the mark, and the table's version.

        A compaction's files among them, so more is written again than was missed.
        """
        try:
            now = table.opened()
        except TableNotFoundError:
            return [], NOT_BEGUN
        held = standing(now)
        found = zip(held["file"], held["modification_time"], strict=True)
        since = mark.time_ms - COMMIT_TAKES_MS
        return [file for file, when in found if when >= since], now.version()

    def _write(self, schema: str, files: list[LakeFile]) -> None:
        lines = self._lines(schema, files)
        while batch := list(islice(lines, BATCH_POINTS_MAX)):
            self._writer.write(batch)

    def _lines(self, schema: str, files: list[LakeFile]) -> Iterator[str]:
        if not files:
            return
        for batch in self._tables[schema].rows_of(files).to_batches(batch_size=BATCH_POINTS_MAX):
            for row in batch.to_pylist():
                key = f"{row['site_id']}/{row['reactor_id']}/{row['component']}"
                if self._wanted(schema, key):
                    yield from lines_of(schema, row)

    def _marks(self) -> dict[str, Mark]:
        try:
            told: dict[str, Any] = json.loads((self._lake / FILE_NAME).read_text())
            return {schema: Mark(*mark) for schema, mark in told.items()}
        except (FileNotFoundError, ValueError, TypeError):  # torn or of no mark: from the beginning
            return {}

    def _save(self, marks: dict[str, Mark]) -> None:
        path = self._lake / FILE_NAME
        new = path.with_suffix(".new")
        new.write_text(json.dumps(marks))
        os.replace(new, path)
