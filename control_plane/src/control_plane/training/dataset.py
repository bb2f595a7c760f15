"""The training table (PRD 3.2): tags, features and labels, partitioned, versioned and hashed.

A Delta table in a folder: plain Parquet for whoever reads Parquet, with `_dataset.json` beside it. The
hash is over the rows and no file's bytes, so the same rows have it whichever engine wrote them.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError
from numpy.typing import NDArray
from pydantic import ValidationError

from control_plane import __version__
from control_plane.training.history_rows import History, histories
from control_plane.training.source_tables import PLACE, Failures, Source, find_source, read_source
from shared.errors import ConfigError
from shared.features import FeatureSpec, window_features
from shared.schemas import Frozen, utc_now
from shared.schemas.base import Name, Sha256, UtcTime

if TYPE_CHECKING:
    import pandas as pd

INFO_FILE = "_dataset.json"  # a name that Delta's vacuum leaves alone
FEATURE_PREFIX = "feature_"  # a feature may be called as its tag is
PARTITION_COLS = ("site_id", "component")
LABEL_COLUMNS = ("true_RUL", "component_status")
CHANGED = "its rows were changed after it was built; build it anew"
WINDOWS_AT_ONCE = 4096  # rows whose windows are in memory together: some 30 MB of 8 tags

Floats = NDArray[np.float32]
Say = Callable[[str], None]


class DatasetInfo(Frozen):
    """What a built data set says of itself. `source_version` is the lake's Delta version.

    `version` is the table's own; `sha256` is over the rows of that version.
    """

    component_type: Name
    feature_spec: FeatureSpec
    feature_spec_hash: Sha256
    engine: Literal["local", "spark"]
    source: str
    source_version: int | None
    version: int
    sha256: Sha256
    units: int
    rows: int
    code_version: str
    created: UtcTime


def write_training_data(
    data: "pd.DataFrame | pa.Table", path: str, partition_cols: Sequence[str] = PARTITION_COLS
) -> int:
    """Append rows to the partitioned table at `path`, made where it is not there; its new version.

    All rows or none. ConfigError where a column is missing that a training needs, where a label is
    empty, and where the columns are other than those of the table that is there.
    """
    table = data if isinstance(data, pa.Table) else pa.Table.from_pandas(data, preserve_index=False)
    _check_rows(table, path, partition_cols)
    try:
        write_deltalake(path, table, mode="append", partition_by=list(partition_cols))
    except (DeltaError, ValueError, pa.ArrowInvalid) as error:
        raise ConfigError(path, [f"does not take these rows: {str(error)[:300]}"]) from error
    return int(DeltaTable(path).version())


def training_schema(spec: FeatureSpec) -> pa.Schema:
    """Identity, `run`, `cycle`, the tags, the features (`feature_...`), RUL and status."""
    whole, real, text = pa.int64(), pa.float32(), pa.string()
    features = [FEATURE_PREFIX + name for name in spec.columns]
    return pa.schema(
        [(name, text) for name in PLACE]
        + [("run", whole), ("cycle", whole)]
        + [(name, real) for name in (*spec.tags, *features)]
        + [("true_RUL", real), ("component_status", text)]
    )


def training_rows(history: History, spec: FeatureSpec) -> pa.Table:
    """One history as rows of the table; a row's features are those of the window that ends there."""
    n = len(history.cycle)
    columns: list[pa.Array] = [pa.array([name] * n, pa.string()) for name in history.place]
    columns += [pa.array(np.full(n, history.run, np.int64)), pa.array(history.cycle)]
    columns += [pa.array(column, from_pandas=True) for column in history.values.T]
    columns += [pa.array(np.ascontiguousarray(column)) for column in row_features(history.values, spec).T]
    columns += [pa.array(history.rul), pa.array(history.status.tolist(), pa.string())]
    return pa.table(columns, schema=training_schema(spec))


def row_features(values: Floats, spec: FeatureSpec) -> Floats:
    """`(n, F)`: of each row, the newest features of the window that ends there, padded where it is short."""
    width = spec.window_cycles
    padded = np.vstack([np.full((width - 1, values.shape[1]), np.nan, np.float32), values])
    every = np.lib.stride_tricks.sliding_window_view(padded, width, axis=0).transpose(0, 2, 1)
    found = [
        window_features(np.ascontiguousarray(every[first : first + WINDOWS_AT_ONCE]), spec)[:, -1]
        for first in range(0, len(values), WINDOWS_AT_ONCE)
    ]
    return np.concatenate(found)


def component_rows(
    rows: pa.Table, spec: FeatureSpec, source: str, failures: Failures | None, *, leave_out: bool
) -> pa.Table:
    """One component's source rows to its rows of the training table: what both engines run."""
    found = [
        training_rows(history, spec)
        for history in histories(rows, spec.tags, source, failures, leave_out=leave_out)
    ]
    return pa.concat_tables([training_schema(spec).empty_table(), *found])


def build(
    data: Path,
    output: Path,
    spec: FeatureSpec,
    components: Sequence[str],
    failures: Failures | None,
    say: Say,
    *,
    leave_out: bool = False,
    spark_master: str | None = None,
    partition_cols: Sequence[str] = PARTITION_COLS,
) -> DatasetInfo:
    """Build the table at `output`, whole or not at all; on a Spark cluster where a master is named."""
    if output.exists():
        raise ConfigError(str(output), ["is there already; a data set is not changed: name another folder"])
    source = find_source(data)
    if source.is_lake and failures is None:
        raise ConfigError(str(data), ["a plant's telemetry has no labels; give its failures with --failures"])
    part = output.with_name(output.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        if spark_master is None:
            _build_here(source, part, spec, components, failures, say, partition_cols, leave_out=leave_out)
        else:
            from control_plane.training.dataset_spark import build_on_spark

            say(f"on Spark at {spark_master}")
            build_on_spark(
                source, part, spec, components, failures, spark_master, partition_cols, leave_out=leave_out
            )
        engine: Literal["local", "spark"] = "spark" if spark_master else "local"
        info = _describe(part, spec, source, engine)
        (part / INFO_FILE).write_text(info.model_dump_json(indent=2) + "\n")
        part.rename(output)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return info


def read_info(folder: Path) -> DatasetInfo:
    """What a built data set says of itself; ConfigError when it cannot be read."""
    try:
        return DatasetInfo.model_validate_json((folder / INFO_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise ConfigError(
            str(folder / INFO_FILE), [f"cannot be read; build the data set anew: {error}"]
        ) from error


def is_dataset(path: Path) -> bool:
    """Whether `dataset build` made this folder."""
    return (path / INFO_FILE).is_file()


def delta_version(path: Path) -> int | None:
    """The Delta version of a built data set; None for a plain file."""
    return read_info(path).version if is_dataset(path) else None


def read_dataset(folder: Path) -> Iterator[pa.Table]:
    """Each component's rows in the order of their keys, at the version that was built.

    ConfigError when they are not the rows that the data set's hash was taken over.
    """
    info = read_info(folder)
    digests = []
    try:
        for table in _components(folder, info.version, info.feature_spec):
            digests.append(rows_sha256(table))
            yield table
    except (OSError, DeltaError, pa.ArrowInvalid) as error:
        raise ConfigError(str(folder), [f"{CHANGED}: {str(error)[:200]}"]) from error
    if _whole(digests) != info.sha256:
        raise ConfigError(str(folder), [CHANGED])


def rows_sha256(table: pa.Table) -> str:
    """SHA-256 over one component's rows in the order of their keys, column by column, in hex."""
    digest = hashlib.sha256()
    for name in table.column_names:
        column = table[name]
        digest.update(name.encode() + b"\0")
        if pa.types.is_string(column.type):
            digest.update("\0".join(column.to_pylist()).encode())
        else:
            kind = "<f4" if pa.types.is_float32(column.type) else "<i8"
            digest.update(np.ascontiguousarray(column.to_numpy(), kind).tobytes())
    return digest.hexdigest()


def _build_here(
    source: Source,
    part: Path,
    spec: FeatureSpec,
    components: Sequence[str],
    failures: Failures | None,
    say: Say,
    partition_cols: Sequence[str],
    *,
    leave_out: bool,
) -> None:
    rows = read_source(source, spec.tags, components, PLACE)
    places = (
        rows.select(list(PLACE))
        .group_by(list(PLACE))
        .aggregate([])
        .sort_by([(n, "ascending") for n in PLACE])
    )
    for number, place in enumerate(places.to_pylist(), 1):
        own = rows.filter(_all(pc.equal(rows[name], value) for name, value in place.items()))
        table = component_rows(own, spec, str(source.path), failures, leave_out=leave_out)
        if table.num_rows:
            write_training_data(table, str(part), partition_cols)
        say(f"{number}/{places.num_rows} {'/'.join(place.values())}: {table.num_rows} rows")


def _describe(
    part: Path, spec: FeatureSpec, source: Source, engine: Literal["local", "spark"]
) -> DatasetInfo:
    """Read back what was written: count it, hash it, and refuse a tag that has no number anywhere."""
    if not DeltaTable.is_deltatable(str(part)):
        raise ConfigError(str(source.path), ["no unit is left; see --leave-out-unfailed and --failures"])
    version = int(DeltaTable(str(part)).version())
    digests, units, rows = [], 0, 0
    seen = dict.fromkeys(spec.tags, 0)
    for table in _components(part, version, spec):
        digests.append(rows_sha256(table))
        units += len(pc.unique(table["run"]))
        rows += table.num_rows
        for tag in spec.tags:
            seen[tag] += table.num_rows - table[tag].null_count
    check_seen(seen, str(source.path))
    return DatasetInfo(
        component_type=spec.component_type,
        feature_spec=spec,
        feature_spec_hash=spec.hash(),
        engine=engine,
        source=str(source.path),
        source_version=source.version,
        version=version,
        sha256=_whole(digests),
        units=units,
        rows=rows,
        code_version=__version__,
        created=utc_now(),
    )


def check_seen(numbers_by_tag: dict[str, int], source: str) -> None:
    """ConfigError for each tag without one number in the whole table: nothing can be learnt of it."""
    dead = [tag for tag, count in numbers_by_tag.items() if not count]
    if dead:
        raise ConfigError(
            source, [f"column {tag!r} has no number in any row; is it a table of this type?" for tag in dead]
        )


def _components(folder: Path, version: int, spec: FeatureSpec) -> Iterator[pa.Table]:
    """Each component's rows, in order of site, reactor, component; inside by run and cycle."""
    dataset = DeltaTable(str(folder), version=version).to_pyarrow_dataset()
    places = dataset.to_table(columns=list(PLACE)).group_by(list(PLACE)).aggregate([])
    schema = training_schema(spec)
    for place in places.sort_by([(name, "ascending") for name in PLACE]).to_pylist():
        chosen = _all(pc.field(name) == value for name, value in place.items())
        found = dataset.to_table(columns=schema.names, filter=chosen).cast(schema)
        yield found.sort_by([("run", "ascending"), ("cycle", "ascending")])


def _all(conditions: Iterator[object]) -> object:
    """Every condition at once, of arrays or of expressions."""
    first, *others = conditions
    for each in others:
        first = pc.and_(first, each) if isinstance(first, pa.Array | pa.ChunkedArray) else first & each  # type: ignore[operator]
    return first


def _whole(digests: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _check_rows(table: pa.Table, path: str, partition_cols: Sequence[str]) -> None:
    wanted = dict.fromkeys((*PLACE, "cycle", *LABEL_COLUMNS, *partition_cols))
    missing = [name for name in wanted if name not in table.column_names]
    problems = [
        f"column {name!r} is missing; the rows have {', '.join(table.column_names)}" for name in missing
    ]
    problems += [
        f"column {name!r} is empty in {table[name].null_count} of {table.num_rows} rows; each needs one"
        for name in wanted
        if name not in missing and table[name].null_count
    ]
    if not table.num_rows:
        problems.append("found no row; there is nothing to write")
    if problems:
        raise ConfigError(path, problems)
