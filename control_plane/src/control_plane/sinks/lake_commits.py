"""A Delta table's commits as they come: which files brought rows, and nothing about those that moved them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
from deltalake import DeltaTable

from control_plane.sinks.lake_place import files_below, open_table, table_uri
from control_plane.sinks.lake_tables import TableSpec

NOT_BEGUN = -1  # in place of a version
_CHECKPOINT = "_delta_log/_last_checkpoint"


class CommitsGone(Exception):
    """Who asks has not looked for so long that commits it has not seen are removed."""


class LakeFile(NamedTuple):
    """A file of a table: its name below it, its size in bytes."""

    name: str
    size: int


class TableCommits:
    """One table of the lake, by its log. Used by one thread at a time; deltalake's and pyarrow's errors
    pass through."""

    def __init__(self, lake: Path, spec: TableSpec) -> None:
        self._lake, self._spec = lake, spec
        self._below: tuple[str, pafs.FileSystem] | None = None  # kept: it holds the connections

    def added(
        self, after: int, commits_max: int | None = None, partition: Mapping[str, str] | None = None
    ) -> tuple[list[LakeFile], int]:
        """The files that the commits after version `after` added, oldest first, and the last such version.
        Files that a compaction wrote are left out: their rows came earlier.

        `partition` keeps to one value per partition column. CommitsGone when they cannot be told any more.
        """
        files: list[LakeFile] = []
        commits = list(islice(self._since(after), commits_max))
        for content in self._contents(commits):
            adds = [json.loads(line).get("add") for line in content.splitlines()]
            files += [
                LakeFile(unquote(add["path"]), add["size"])
                for add in adds
                if add and _brings_rows(add, partition or {})
            ]
        if not commits and self._is_past(after):
            raise CommitsGone(f"{self._uri}: the commits after {after} are gone")
        return files, after + len(commits)

    def opened(self) -> DeltaTable:
        """The table as it is now."""
        return open_table(self._lake, self._spec.name)

    def committed_ms(self, version: int) -> int | None:
        """When that commit was made (of 1970, UTC); None when it is in a checkpoint only by now."""
        found = self._files.get_file_info(_commit(version))
        return None if found.mtime_ns is None else int(found.mtime_ns) // 1_000_000

    def rows_of(self, files: Sequence[LakeFile]) -> ds.Dataset:
        """The rows of some files, which may have been replaced since; FileNotFoundError later."""
        partitions = pa.schema([self._spec.schema.field(name) for name in self._spec.partition_by])
        return ds.dataset(
            [file.name for file in files], schema=self._spec.schema, format="parquet",
            partitioning=ds.partitioning(partitions, flavor="hive"),
            filesystem=files_below(self._uri, dict(files)),
        )  # fmt: skip

    @property
    def _uri(self) -> str:
        return table_uri(self._lake, self._spec.name)

    @property
    def _files(self) -> pafs.FileSystem:
        uri = self._uri
        if self._below is None or self._below[0] != uri:
            self._below = uri, files_below(uri)
        return self._below[1]

    def _since(self, version: int) -> Iterator[LakeFile]:
        """The commits after that one, as far as there are."""
        for number in count(version + 1):
            found = self._files.get_file_info(_commit(number))
            if found.type is not pafs.FileType.File:
                return
            yield LakeFile(found.path, found.size)

    def _contents(self, files: Sequence[LakeFile]) -> Iterator[bytes]:
        if files:
            below = files_below(self._uri, dict(files))
            for file in files:
                with below.open_input_file(file.name) as stream:
                    yield stream.read()

    def _is_past(self, version: int) -> bool:
        """Whether the table went on from there, by its newest checkpoint.

        Commits are removed from the oldest on: while this one stands, those after it do.
        """
        if self._files.get_file_info(_commit(version)).type is pafs.FileType.File:
            return False
        checkpoint = self._files.get_file_info(_CHECKPOINT)
        if checkpoint.type is not pafs.FileType.File:
            return False
        [content] = self._contents([LakeFile(checkpoint.path, checkpoint.size)])
        return int(json.loads(content)["version"]) > version


def standing(table: DeltaTable) -> dict[str, list[Any]]:
    """What a table holds now, a column each: `file`, `num_records`, `modification_time`, `partition.*`,
    and `max.timestamp` where anything is stored."""
    actions = pa.table(table.get_add_actions(flatten=True))
    wanted = ("num_records", "modification_time", "max.timestamp")
    found: dict[str, list[Any]] = actions.select(
        [name for name in actions.column_names if name in wanted or name.startswith("partition.")]
    ).to_pydict()
    names = (unquote(path) for path in actions["path"].to_pylist())
    return found | {"file": list(map(LakeFile, names, actions["size_bytes"].to_pylist()))}


def _commit(version: int) -> str:
    return f"_delta_log/{version:020}.json"


def _brings_rows(add: dict[str, Any], partition: Mapping[str, str]) -> bool:
    return bool(add["dataChange"]) and partition.items() <= add["partitionValues"].items()
