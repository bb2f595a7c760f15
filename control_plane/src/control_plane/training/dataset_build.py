"""Rows of a source to a training table: what both engines run, and the one that runs here."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from control_plane import __version__
from control_plane.training.dataset import (
    INFO_FILE,
    PARTITION_COLS,
    DatasetInfo,
    component_tables,
    is_of,
    joined_sha256,
    rows_sha256,
    training_schema,
    write_training_data,
)
from control_plane.training.history_rows import History, histories
from control_plane.training.source_tables import (
    PLACE,
    Failures,
    Source,
    check_seen,
    find_source,
    read_source,
)
from shared.errors import ConfigError
from shared.features import FeatureSpec, unit_features
from shared.schemas import utc_now

Say = Callable[[str], None]


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


def training_rows(history: History, spec: FeatureSpec) -> pa.Table:
    """One history as rows of the table; its features are those of `generate_features`."""
    n = len(history.cycle)
    unit, fault = np.zeros(n, np.intp), history.status == "faulty"
    features = unit_features(history.values, unit, history.cycle, fault, spec)
    columns: list[pa.Array] = [pa.array([name] * n, pa.string()) for name in history.place]
    columns += [pa.array(np.full(n, history.run, np.int64)), pa.array(history.cycle)]
    columns += [pa.array(column, from_pandas=True) for column in history.values.T]
    columns += [pa.array(np.ascontiguousarray(column)) for column in features.T]
    columns += [pa.array(history.rul), pa.array(history.status.tolist(), pa.string())]
    return pa.table(columns, schema=training_schema(spec))


def component_rows(
    rows: pa.Table, spec: FeatureSpec, source: str, failures: Failures | None, *, leave_out: bool
) -> pa.Table:
    """One component's source rows to its rows of the training table: what both engines run."""
    check_named(rows, source)
    found = [
        training_rows(history, spec)
        for history in histories(rows, spec.tags, source, failures, leave_out=leave_out)
    ]
    return pa.concat_tables([training_schema(spec).empty_table(), *found])


def check_named(rows: pa.Table, source: str) -> None:
    """ConfigError where a row does not say which component it is of."""
    empty = [name for name in PLACE if rows[name].null_count]
    if empty:
        raise ConfigError(
            source, [f"column {name!r} is empty in some rows; each needs one" for name in empty]
        )


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
    check_named(rows, str(source.path))
    places = (
        rows.select(list(PLACE))
        .group_by(list(PLACE))
        .aggregate([])
        .sort_by([(n, "ascending") for n in PLACE])
    )
    for number, place in enumerate(places.to_pylist(), 1):
        own = rows.filter(is_of(place))
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
    for table in component_tables(part, version, spec):
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
        source=source.address,
        source_version=source.version,
        version=version,
        sha256=joined_sha256(digests),
        units=units,
        rows=rows,
        code_version=__version__,
        created=utc_now(),
    )
