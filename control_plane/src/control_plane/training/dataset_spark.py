"""The training table on any Spark cluster: the same function a component, so the same bits.

Every executor needs this package installed (and no torch), and the paths must be shared with the driver.
Reads Delta's Parquet files by name and registers what it wrote, so that no Delta jar is needed.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, Field, Schema, convert_to_deltalake
from deltalake.schema import PrimitiveType

from control_plane.training.dataset import training_schema
from control_plane.training.dataset_build import component_rows
from control_plane.training.source_tables import (
    LABEL_ALIAS,
    LABELS,
    PLACE,
    Failures,
    Source,
    column_names,
    delimiter_of,
    require_columns,
    source_schema,
)
from shared.errors import ConfigError, Retryable
from shared.features import FeatureSpec

PACKAGE = "pm-stack-smr-control-plane[spark]"
OWN_ERROR = "shared.errors.ConfigError: "  # how a refusal looks in the traceback that an executor sends
SPARK_TYPES = {pa.string(): "string", pa.int64(): "bigint", pa.float32(): "float", pa.float64(): "double"}
SETTINGS = {
    "spark.ui.enabled": "false",  # closed by default: it would listen beyond loopback
    "spark.driver.bindAddress": "127.0.0.1",  # of a local master; a cluster's settings come by spark-submit
    "spark.driver.host": "127.0.0.1",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",  # site "007" is no number
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
}


def build_on_spark(
    source: Source,
    part: Path,
    spec: FeatureSpec,
    components: Sequence[str],
    failures: Failures | None,
    master: str,
    partition_cols: Sequence[str],
    *,
    leave_out: bool,
) -> None:
    """Write the table at `part`; ConfigError where a unit is refused, Retryable where Spark fails."""
    with _session(master) as spark:
        rows = _rows(spark, source, spec)
        if components:
            rows = rows.where(rows["component"].isin(*components))
        grouped = rows.groupBy(*PLACE)
        schema = ", ".join(f"`{field.name}` {SPARK_TYPES[field.type]}" for field in training_schema(spec))
        made = grouped.applyInArrow(_function(spec, str(source.path), failures, leave_out=leave_out), schema)
        try:
            made.write.partitionBy(*partition_cols).parquet(part.resolve().as_uri())
        except Exception as error:  # py4j and pyspark raise classes of their own, one a layer
            raise _meaning(error, source, master) from error
    if any(part.rglob("*.parquet")):
        kinds = Schema([Field(name, PrimitiveType("string")) for name in partition_cols])
        convert_to_deltalake(str(part), partition_by=kinds, partition_strategy="hive")


def _function(
    spec: FeatureSpec, source: str, failures: Failures | None, *, leave_out: bool
) -> Callable[[pa.Table], pa.Table]:
    """What an executor runs for one component."""

    def of_component(rows: pa.Table) -> pa.Table:
        return component_rows(rows, spec, source, failures, leave_out=leave_out)

    return of_component


def _rows(spark: Any, source: Source, spec: FeatureSpec) -> Any:
    """The source as `source_schema`: the columns that it lacks are null, every run is 0."""
    from pyspark.sql import functions as f

    schema = source_schema(spec.tags)
    if source.is_lake:
        if "://" in source.address:
            problem = (
                f"the lake's tables lie at {source.address}, which Spark does not read here; leave it out"
            )
            raise ConfigError("--engine", [problem])
        table = DeltaTable(str(source.path), version=source.version)
        base = source.path.resolve().as_uri()
        read = spark.read.option("basePath", base).parquet(*map(_uri, table.file_uris()))
        read = read.where(read["cycle"].isNotNull())
        stored = {name: read[name] for name in (*PLACE, "cycle")}
        stored |= {tag: f.element_at(read["metrics"], f.lit(tag)) for tag in spec.tags}
    else:
        read, stored = _file(spark, source.path, spec)
    columns = {"run": f.lit(0), **{name: f.lit(None) for name in LABELS}, **stored}
    return read.select(
        *(columns[field.name].cast(SPARK_TYPES[field.type]).alias(field.name) for field in schema)
    )


def _file(spark: Any, path: Path, spec: FeatureSpec) -> tuple[Any, dict[str, Any]]:
    names = column_names(path)
    label = LABEL_ALIAS if "true_RUL" not in names and LABEL_ALIAS in names else "true_RUL"
    require_columns(path, names, [*PLACE, *spec.tags, label])
    if path.suffix == ".parquet":
        read = spark.read.parquet(_uri(path.resolve()))
    else:
        read = spark.read.csv(_uri(path.resolve()), header=True, sep=delimiter_of(path))
    stored = {name: label if name == "true_RUL" else name for name in source_schema(spec.tags).names}
    return read, {name: read[column] for name, column in stored.items() if column in names}


def _uri(path: Path | str) -> str:
    """A path with its scheme: a cluster's default may be another store than the driver's disk."""
    return Path(path).as_uri() if str(path).startswith("/") else str(path)


@contextmanager
def _session(master: str) -> Iterator[Any]:
    """A session at `master`, or the one that spark-submit began; ended where it was begun here."""
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise ConfigError("--engine", [f"spark needs pyspark: install {PACKAGE}"]) from error
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else executors take the first python3
    running = SparkSession.getActiveSession()
    builder = SparkSession.builder.appName("control-plane dataset build")
    settings = (
        SETTINGS if master.startswith("local") else {k: v for k, v in SETTINGS.items() if ".driver." not in k}
    )
    for name, value in settings.items():
        builder = builder.config(name, value)
    try:
        spark = builder.master(master).getOrCreate()
    except Exception as error:  # no Java, no master: classes of pyspark's own
        raise Retryable(f"no Spark session at {master}: {error}; it needs Java 17 or newer") from error
    try:
        yield spark
    finally:
        if running is None:
            spark.stop()


def _meaning(error: Exception, source: Source, master: str) -> Exception:
    """A refusal of our own that an executor raised, else Spark's failure, shortened."""
    text = str(error)
    if OWN_ERROR in text:
        lines = text.split(OWN_ERROR, 1)[1].splitlines()
        problems = [line.strip()[2:] for line in lines if line.strip().startswith("- ")]
        return ConfigError(str(source.path), problems)
    return Retryable(f"Spark at {master} failed: {text[:500]}")
