"""A Delta table's commits as they come: which files brought rows, and nothing about those that moved them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset as ds

from control_plane.sinks.lake_tables import TableSpec

NOT_BEGUN = -1  # in place of a version


class CommitsGone(Exception):
    """Who asks has not looked for so long that commits it has not seen are removed."""


def added_files(
    folder: Path, after: int, commits_max: int | None = None, partition: Mapping[str, str] | None = None
) -> tuple[list[str], int]:
    """The files, relative to `folder`, that the commits after version `after` added, oldest first, and
    the last such version. Files that a compaction wrote are left out: their rows came earlier.

    `partition` keeps to one value per partition column. CommitsGone when they cannot be told any more.
    """
    files: list[str] = []
    version, log = after, folder / "_delta_log"
    while commits_max is None or version - after < commits_max:
        commit = commit_file(folder, version + 1)
        if not commit.exists():
            break
        version += 1
        adds = [json.loads(line).get("add") for line in commit.read_text().splitlines()]
        files += [unquote(add["path"]) for add in adds if add and _brings_rows(add, partition or {})]
    if version == after and _newest_checkpoint(log) > version:
        raise CommitsGone(f"{folder}: the commits after {version} are gone")
    return files, version


def dataset_of(lake: Path, spec: TableSpec, files: Sequence[str]) -> ds.Dataset:
    """The rows of some of a table's files, which may have been replaced since; FileNotFoundError later."""
    hive = ds.partitioning(pa.schema([spec.schema.field(name) for name in spec.partition_by]), flavor="hive")
    paths = [str(lake / spec.name / path) for path in files]
    return ds.dataset(paths, schema=spec.schema, format="parquet", partitioning=hive)


def commit_file(folder: Path, version: int) -> Path:
    """Where a table under `folder` notes that commit."""
    return folder / "_delta_log" / f"{version:020}.json"


def _brings_rows(add: dict[str, Any], partition: Mapping[str, str]) -> bool:
    return bool(add["dataChange"]) and partition.items() <= add["partitionValues"].items()


def _newest_checkpoint(log: Path) -> int:
    try:
        return int(json.loads((log / "_last_checkpoint").read_text())["version"])
    except FileNotFoundError:
        return NOT_BEGUN
