"""Where training rows come from: a CSV or Parquet table, or the lake's telemetry. Columns are checked here.

Enters: a path. Leaves: an Arrow table with the columns of `source_schema`, missing ones null. Never: a
column that was guessed; a failure that nobody recorded.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from deltalake.exceptions import TableNotFoundError
from numpy.typing import NDArray

from control_plane.sinks.lake_place import open_table, table_uri, told
from shared.errors import ConfigError

PLACE = ("site_id", "reactor_id", "component")
LABELS = ("performance", "fault", "true_RUL")
LABEL_ALIAS = "RUL"  # PRD 3.2's name for true_RUL
TELEMETRY = "telemetry"  # the lake's table
DELIMITERS = (",", ";", "\t")
_TEXT, _WHOLE, _REAL = pa.string(), pa.int64(), pa.float64()


class Source(NamedTuple):
    """A table's place; `version` is the Delta version of a lake, None for a file.

    The table of a lake may lie elsewhere than in its folder: `address`.
    """

    path: Path
    version: int | None = None

    @property
    def is_lake(self) -> bool:
        return self.version is not None

    @property
    def address(self) -> str:
        """Where the rows lie: a path, or s3://... or gs://... of a lake."""
        return table_uri(self.path.parent, self.path.name) if self.is_lake else str(self.path)


Failures = Mapping[tuple[str, str, str], NDArray[np.int64]]


def source_schema(tags: Sequence[str]) -> pa.Schema:
    """Identity, `run`, `cycle`, the tags (numbers, null where bad), then the labels."""
    identity = [(name, _TEXT) for name in PLACE] + [("run", _WHOLE), ("cycle", _WHOLE)]
    labels = [("performance", _REAL), ("fault", _TEXT), ("true_RUL", _REAL)]
    return pa.schema([*identity, *((tag, _REAL) for tag in tags), *labels])


def find_source(path: Path) -> Source:
    """A file, or the telemetry of the lake in a folder, at the version that it has now."""
    if not path.is_dir():
        return Source(path)
    with told(str(path)):
        for folder in (path, path / TELEMETRY, path / "lake" / TELEMETRY):
            try:
                return Source(folder, open_table(folder.parent, folder.name).version())
            except TableNotFoundError:
                continue
    raise ConfigError(
        str(path), [f"holds no Delta table {TELEMETRY!r}; give the lake's folder, or a .csv or .parquet file"]
    )


def read_source(
    source: Source, tags: Sequence[str], components: Sequence[str], required: Sequence[str]
) -> pa.Table:
    """The rows of these components (all where none is named), as `source_schema`.

    ConfigError names the file and each column that is missing or holds something else than it should.
    """
    table = _lake(source, tags) if source.is_lake else _file(source.path, tags, required)
    if components:
        table = table.filter(pc.is_in(table["component"], pa.array(list(components))))
    if not table.num_rows:
        raise ConfigError(str(source.path), [_nothing(components)])
    return table


def read_failures(path: Path) -> Failures:
    """By component, the cycles at which it failed, in order: `site_id, reactor_id, component, cycle`."""
    table = _file(path, (), (*PLACE, "cycle"), labelled=False)
    found: dict[tuple[str, str, str], list[int]] = {}
    for row in table.select([*PLACE, "cycle"]).to_pylist():
        found.setdefault((row["site_id"], row["reactor_id"], row["component"]), []).append(row["cycle"])
    return {place: np.array(sorted(cycles), np.int64) for place, cycles in found.items()}


def require_columns(path: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    """ConfigError names each wanted column that is not there, and what is."""
    missing = [name for name in wanted if name not in found]
    if missing:
        there = ", ".join(map(str, found))
        raise ConfigError(
            str(path), [f"column {name!r} is missing; the file has {there}" for name in missing]
        )


def check_seen(numbers_by_tag: Mapping[str, int], source: str) -> None:
    """ConfigError for each tag without one number in the whole table: nothing can be learnt of it."""
    dead = [tag for tag, count in numbers_by_tag.items() if not count]
    if dead:
        raise ConfigError(
            source, [f"column {tag!r} has no number in any row; is it a table of this type?" for tag in dead]
        )


def delimiter_of(path: Path) -> str:
    """The one of DELIMITERS that the first line has most often; ConfigError when it cannot be read."""
    try:
        with path.open(encoding="utf-8") as lines:
            first = lines.readline()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"cannot be read as a table: {error}"]) from error
    return max(DELIMITERS, key=first.count)


def column_names(path: Path) -> list[str]:
    """The columns of a CSV or Parquet file."""
    if path.suffix != ".parquet":
        delimiter = delimiter_of(path)
        with path.open(encoding="utf-8") as lines:
            return [name.strip().strip('"') for name in lines.readline().split(delimiter)]
    try:
        return list(pa.parquet.read_schema(path).names)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(str(path), [f"cannot be read as a table: {error}"]) from error


def _file(path: Path, tags: Sequence[str], required: Sequence[str], *, labelled: bool = True) -> pa.Table:
    names = column_names(path)
    label = LABEL_ALIAS if "true_RUL" not in names and LABEL_ALIAS in names else "true_RUL"
    require_columns(path, names, [*required, *tags, *([label] if labelled else [])])
    schema = source_schema(tags)
    stored = {name: label if name == "true_RUL" else name for name in schema.names}
    kept = {name: column for name, column in stored.items() if column in names}
    try:
        table = _read(path, schema, kept)
        columns = [_column(table, kept, field) for field in schema]
    except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConfigError(str(path), [f"cannot be read as a table: {error}"]) from error
    return pa.table(columns, schema=schema)


def _read(path: Path, schema: pa.Schema, kept: Mapping[str, str]) -> pa.Table:
    if path.suffix == ".parquet":
        return pa.parquet.read_table(path, columns=list(kept.values()), partitioning=None)
    types = {column: schema.field(name).type for name, column in kept.items()}
    return pa.csv.read_csv(
        path,
        parse_options=pa.csv.ParseOptions(delimiter=delimiter_of(path)),
        convert_options=pa.csv.ConvertOptions(
            include_columns=list(kept.values()), column_types=types, strings_can_be_null=True
        ),
    )


def _column(table: pa.Table, kept: Mapping[str, str], field: pa.Field) -> pa.ChunkedArray:
    if field.name not in kept:
        default = 0 if field.name == "run" else None
        return pa.chunked_array([pa.repeat(pa.scalar(default, field.type), table.num_rows)])
    found = table[kept[field.name]]
    try:
        return found.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise pa.ArrowInvalid(f"column {kept[field.name]!r}: found {found.type}; {error}") from error


def _lake(source: Source, tags: Sequence[str]) -> pa.Table:
    """Telemetry as columns; a reading whose cycle could not be read cannot be placed and is left out."""
    dataset = open_table(source.path.parent, source.path.name, source.version).to_pyarrow_dataset()
    rows = dataset.to_table(columns=[*PLACE, "cycle", "metrics"], filter=pc.field("cycle").is_valid())
    schema = source_schema(tags)
    columns = {name: rows[name].cast(schema.field(name).type) for name in (*PLACE, "cycle")}
    columns |= {tag: pc.map_lookup(rows["metrics"], pa.scalar(tag), "first") for tag in tags}
    columns["run"] = pa.repeat(pa.scalar(0, _WHOLE), rows.num_rows)
    nulls = {name: pa.nulls(rows.num_rows, schema.field(name).type) for name in LABELS}
    return pa.table({name: {**columns, **nulls}[name] for name in schema.names}, schema=schema)


def _nothing(components: Sequence[str]) -> str:
    if not components:
        return "has no row; write it anew, for example with `edge-agent simulate`"
    return f"has no row of component {', '.join(components)}; name what it has with --component"
