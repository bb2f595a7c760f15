"""Keeps the lake's files few: small ones become large ones, replaced ones go after an hour.

Beside a running ingest: a compaction changes no row, so an append never conflicts with it. Who has
opened a table reads on in the replaced files until they go (`lake.KEPT`).
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import structlog
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from control_plane.sinks.lake_place import open_table, plain, table_uri, told
from control_plane.sinks.lake_tables import TABLES
from shared.errors import Retryable

# Steps to grow by: each row is rewritten a few times, not every time.
SIZES_BYTES = (2**17, 2**20, 2**24, 2**28)
FILES_PER_STEP_MAX = 16  # of one partition below a size; more are made one
PERIOD_S = 60.0  # between two looks: at a batch a second a partition has 60 new files, and a page opens each
SWEEP_EVERY = 10  # looks: to remove what was replaced takes a list of all files
STOP_DEADLINE_S = 5.0  # for a compaction in hand; one that is cut off has changed nothing

log = structlog.get_logger()


class Upkeep(NamedTuple):
    """What was done to one table: live files before and after, replaced or stray files removed."""

    table: str
    files_before: int
    files_after: int
    removed: int


def maintain(lake: Path, sweep: bool = True) -> Iterator[Upkeep]:
    """Every table, one after the other; without `sweep` small files are joined, and nothing is removed.

    Retryable when there is no table or another upkeep was faster.
    """
    for spec in TABLES.values():
        uri = table_uri(lake, spec.name)
        with told(uri):
            try:
                done = _maintain(spec.name, open_table(lake, spec.name), spec.partition_by, sweep)
            except TableNotFoundError as error:
                raise Retryable(f"{lake}: no table {spec.name} yet; ingest makes it") from error
            except CommitFailedError as error:
                raise Retryable(f"{uri}: somebody else is compacting it: {plain(error)}") from error
        yield done


def _maintain(name: str, table: DeltaTable, partition_by: list[str], sweep: bool) -> Upkeep:
    before = len(table.file_uris())
    for size_bytes in SIZES_BYTES:
        if _crowded(table, partition_by, size_bytes):
            table.optimize.compact(target_size=size_bytes)
    removed = _swept(table) if sweep else 0
    return Upkeep(name, before, len(table.file_uris()), removed)


def _swept(table: DeltaTable) -> int:
    """How many files went: replaced long enough ago, or left behind by a killed writer."""
    removed = table.vacuum(dry_run=False, full=True)
    table.create_checkpoint()
    table.cleanup_metadata()
    return len(removed)


def _crowded(table: DeltaTable, partition_by: list[str], size_bytes: int) -> bool:
    """Whether some partition has too many files that are smaller than that."""
    actions = pa.table(table.get_add_actions(flatten=True))
    columns = [actions[f"partition.{column}"].to_pylist() for column in partition_by]
    sizes = actions["size_bytes"].to_pylist()
    small = Counter(
        place for *place_parts, size in zip(*columns, sizes, strict=True)
        if size < size_bytes and (place := tuple(place_parts))
    )  # fmt: skip
    return max(small.values(), default=0) > FILES_PER_STEP_MAX


@contextmanager
def kept_up(lake: Path, period_s: float = PERIOD_S) -> Iterator[None]:
    """`maintain` every `period_s`, on a thread of its own, until the block ends.

    A failure is told and tried again: history grows without upkeep, it does not stop.
    """
    stop = threading.Event()
    worker = threading.Thread(target=_keep_up, args=(lake, period_s, stop), name="upkeep", daemon=True)
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join(STOP_DEADLINE_S)


def _keep_up(lake: Path, period_s: float, stop: threading.Event) -> None:
    for look in count(1):
        if stop.wait(period_s):
            return
        try:
            done = list(maintain(lake, sweep=look % SWEEP_EVERY == 0))
        except (Retryable, DeltaError, OSError) as error:
            log.warning("the lake's files were not tidied", reason=str(error))
            continue
        before, after = sum(each.files_before for each in done), sum(each.files_after for each in done)
        say = log.info if look % SWEEP_EVERY == 0 else log.debug
        say("the lake's files are tidied", before=before, after=after)
