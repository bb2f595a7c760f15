"""The lake: Delta tables, written by one ingest, read by DuckDB; `lake_place` knows where they lie."""

import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import structlog
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import DeltaError, TableNotFoundError

from control_plane.sinks.arrival import Arrival
from control_plane.sinks.lake_place import open_table, options_of, table_uri, told
from control_plane.sinks.lake_tables import TABLES, TableSpec, named, tables
from control_plane.sinks.row_numbers import RowNumbers, Span
from shared.errors import ConfigError, Retryable
from shared.schemas import GapRecord

WRITER = "pm-stack-smr/ingest"  # the application id of the transaction numbers
NUMBER_STEP_MAX = 2**31  # numbers climb by chance, so that two writers never mean the same one
KEPT = {  # a reader that has opened a table can go on reading it for this long
    "delta.deletedFileRetentionDuration": "interval 1 hours",  # replaced files, until vacuum
    "delta.logRetentionDuration": "interval 1 hours",  # commits, once a checkpoint covers them
}
_NUMBERS = (
    "timestamp",
    "seq",
    "cycle",
    "metrics.key_value.value",
)  # hardly one is there twice: no dictionary
_WRITTEN = WriterProperties(
    compression="SNAPPY",
    default_column_properties=ColumnProperties(statistics_enabled="CHUNK"),  # Delta asks for no finer ones
    column_properties=dict.fromkeys(
        _NUMBERS, ColumnProperties(statistics_enabled="CHUNK", dictionary_enabled=False)
    ),
)

JOINED_ROWS = 100_000  # of row numbers looked at together: some 10 MB

log = structlog.get_logger()


class LakeWriter:
    """Appends batches to the tables of the lake at `path`; each table's batch is one atomic Delta commit.

    Every commit bears a Delta transaction number that only this writer knows beforehand. So a commit whose
    answer was lost is recognised and not repeated, and a second writer cannot commit unnoticed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tables: dict[str, DeltaTable] = {}
        self._numbers: dict[str, int] = {}  # of each table's last commit that this writer made or found
        self._tried: dict[str, int] = {}  # of commits that are being tried
        self._written: set[str] = set()  # tables that have the batch which is being retried

    def create(self) -> None:
        """Make every table and column that is not there yet, so that a query never meets a missing one.

        Retryable when disk or store will not have it.
        """
        for spec in TABLES.values():
            with told(table_uri(self._path, spec.name)):
                self._create(spec)

    def _create(self, spec: TableSpec) -> None:
        table = self._table(spec)
        if not set(spec.schema.names) <= {field.name for field in table.schema().fields}:
            self._append(spec, spec.schema.empty_table())
        found = table.metadata().configuration
        if any(found.get(name) != value for name, value in KEPT.items()):
            table.alter.set_table_properties(dict(KEPT))

    def accept(self, batch: Sequence[Arrival]) -> None:
        """Write a batch of new arrivals; returns when all of it is durable.

        Retryable when a table will not take it now: give the same batch again, and the tables that have
        it already are left alone. ConfigError when somebody else writes to this lake.
        """
        for schema, chunk in tables(batch).items():
            if schema not in self._written:
                with told(table_uri(self._path, TABLES[schema].name)):
                    self._append(TABLES[schema], chunk)
                self._written.add(schema)
        self._written.clear()

    def _append(self, spec: TableSpec, rows: pa.Table) -> None:
        """One commit, unless it is there already."""
        table = self._table(spec)
        found = table.transaction_version(WRITER) or 0
        last = self._numbers.setdefault(spec.name, found)
        number = self._tried.setdefault(spec.name, last + 1 + secrets.randbelow(NUMBER_STEP_MAX))
        if found not in (last, number):
            raise ConfigError(
                table_uri(self._path, spec.name),
                ["another process writes to this lake too; end one of the two, and start the other again"],
            )
        if found != number:
            write_deltalake(
                table, rows, mode="append", schema_mode="merge",
                commit_properties=CommitProperties(app_transactions=[Transaction(WRITER, number)]),
                writer_properties=_WRITTEN,
            )  # fmt: skip
        self._numbers[spec.name] = self._tried.pop(spec.name)

    def _table(self, spec: TableSpec) -> DeltaTable:
        """The table as it is now; made where there is none. Kept open: its whole log is read once."""
        if (known := self._tables.get(spec.name)) is not None:
            try:
                known.update_incremental()
                return known
            except DeltaError as error:  # commits that it has not seen are in a checkpoint only by now
                log.debug("table opened anew", table=spec.name, reason=str(error))
        uri = table_uri(self._path, spec.name)
        self._tables[spec.name] = DeltaTable.create(
            uri, spec.schema, mode="ignore",
            partition_by=spec.partition_by, configuration=KEPT, storage_options=options_of(uri),
        )  # fmt: skip
        return self._tables[spec.name]


class LakeReader:
    """Answers SQL over the tables of the lake at `path`, each as it stands at the time of the question."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[
            str, tuple[tuple[str, int], ds.Dataset]
        ] = {}  # by table: of which version, its files

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """Run `sql` (DuckDB; parameters as `$name`) and return its rows; times are aware UTC.

        Retryable while the lake has no tables, and when disk or store cannot be read.
        """
        with told(str(self._path)), duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for spec in named(sql):
                connection.register(spec.name, self._dataset(spec))
            relation = connection.sql(sql, params=parameters)
            return list(relation.to_arrow_table().to_pylist()) if relation is not None else []

    def spans(self) -> dict[str, list[Span]]:
        """For each store, the runs `[first, last]` of row numbers that any table holds."""
        spans: dict[str, list[Span]] = defaultdict(list)
        for (_, store_id), numbers in self.row_numbers().items():
            spans[store_id] += numbers.spans()
        return dict(spans)

    def row_numbers(self) -> dict[tuple[str, str], RowNumbers]:
        """The row numbers that the tables hold, by site and store; Retryable while there are no tables.

        A note of ingest that it could not read a row stands in `gaps` under that row's own number; it
        does not count as the row.
        """
        found: dict[tuple[str, str], RowNumbers] = defaultdict(RowNumbers)
        for spec in TABLES.values():
            rows = _NO_NOTES if spec.schema is TABLES[GapRecord.SCHEMA].schema else None
            with told(str(self._path)):
                columns = ["site_id", "store_id", "seq"]
                for batch in _joined(self._dataset(spec).to_batches(columns=columns, filter=rows)):
                    _take(found, batch)
        return dict(found)

    def _dataset(self, spec: TableSpec) -> ds.Dataset:
        try:
            table = open_table(self._path, spec.name)
            return _files(self._path, spec.name, str(table.metadata().id), table.version())
        except TableNotFoundError as error:
            raise Retryable(f"{self._path}: no table {spec.name} yet; ingest makes it") from error


@lru_cache(maxsize=2 * len(TABLES))
def _files(lake: Path, name: str, _table_id: str, version: int) -> ds.Dataset:
    """Those of a table's version: to list many takes longer than to ask a question of them."""
    table = open_table(lake, name)
    table.load_as_version(version)
    return table.to_pyarrow_dataset()


_NO_NOTES = (
    (pc.field("gap_store_id") != pc.field("store_id"))
    | (pc.field("from_seq") != pc.field("seq"))
    | pc.field("gap_store_id").is_null()
)


def _joined(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in fewer batches: each file brings one, and each costs a millisecond however small."""
    held, rows = list[pa.RecordBatch](), 0
    for batch in batches:
        held.append(batch)
        rows += len(batch)
        if rows >= JOINED_ROWS:
            yield pa.concat_batches(held)
            held, rows = [], 0
    if held:
        yield pa.concat_batches(held)


def _take(found: dict[tuple[str, str], RowNumbers], batch: pa.RecordBatch) -> None:
    """Add a batch's row numbers to those of its sites and stores."""
    sites, stores = (pc.dictionary_encode(batch[name].cast(pa.string())) for name in ("site_id", "store_id"))
    seqs = batch["seq"].to_numpy(zero_copy_only=False)
    codes = sites.indices.to_numpy() * len(stores.dictionary) + stores.indices.to_numpy()
    for code in np.unique(codes).tolist():
        site, store = divmod(code, len(stores.dictionary))
        place = sites.dictionary[site].as_py(), stores.dictionary[store].as_py()
        found[place].add(seqs[codes == code])
