"""The training table (PRD 3.2): tags, features and labels, partitioned, versioned and hashed.

A Delta table in a folder: plain Parquet for whoever reads Parquet, with `_dataset.json` beside it. The
hash is over the rows and no file's bytes, so the same rows have it whichever engine wrote them.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import and_
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError
from pydantic import ValidationError

from control_plane.training.source_tables import PLACE
from shared.errors import ConfigError
from shared.features import FeatureSpec, unit_columns
from shared.schemas import Frozen
from shared.schemas.base import Name, Sha256, UtcTime

if TYPE_CHECKING:
    import pandas as pd

INFO_FILE = "_dataset.json"  # a name that Delta's vacuum leaves alone
FEATURE_PREFIX = "feature_"  # a feature may be called as its tag is
PARTITION_COLS = ("site_id", "component")
LABEL_COLUMNS = ("true_RUL", "component_status")
CHANGED = "its rows were changed after it was built; build it anew"


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
    features = [FEATURE_PREFIX + name for name in unit_columns(spec)]
    return pa.schema(
        [(name, text) for name in PLACE]
        + [("run", whole), ("cycle", whole)]
        + [(name, real) for name in (*spec.tags, *features)]
        + [("true_RUL", real), ("component_status", text)]
    )


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
        for table in component_tables(folder, info.version, info.feature_spec):
            digests.append(rows_sha256(table))
            yield table
    except (OSError, DeltaError, pa.ArrowInvalid) as error:
        raise ConfigError(str(folder), [f"{CHANGED}: {str(error)[:200]}"]) from error
    if joined_sha256(digests) != info.sha256:
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


def component_tables(folder: Path, version: int, spec: FeatureSpec) -> Iterator[pa.Table]:
    """Each component's rows, in order of site, reactor, component; inside by run and cycle."""
    dataset = DeltaTable(str(folder), version=version).to_pyarrow_dataset()
    places = dataset.to_table(columns=list(PLACE)).group_by(list(PLACE)).aggregate([])
    schema = training_schema(spec)
    for place in places.sort_by([(name, "ascending") for name in PLACE]).to_pylist():
        found = dataset.to_table(columns=schema.names, filter=is_of(place)).cast(schema)
        yield found.sort_by([("run", "ascending"), ("cycle", "ascending")])


def is_of(place: Mapping[str, str]) -> Any:
    """Arrow's condition for the rows of one component."""
    return reduce(and_, (pc.field(name) == value for name, value in place.items()))


def joined_sha256(digests: Sequence[str]) -> str:
    """One hash of every component's, in order."""
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
