"""A person's own questions to the lake, in SQL, which can read and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
from deltalake.exceptions import TableNotFoundError

from control_plane.sinks.lake_place import open_table, told
from control_plane.sinks.lake_tables import TABLES, named
from shared.errors import ConfigError, Retryable

ROWS_A_FETCH = 1_000
NAMES = sorted(spec.name for spec in TABLES.values())
_TABLES = f"the lake's tables are {', '.join(NAMES)}"
_LOCKED = (  # nothing but the lake's tables is reachable, and no question can change that
    "SET TimeZone = 'UTC'",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


class Answer(NamedTuple):
    """The columns' names, and the rows as they come."""

    columns: list[str]
    rows: Iterator[tuple[Any, ...]]


@contextmanager
def asked(lake: Path, sql: str) -> Iterator[Answer]:
    """The answer to one SELECT over the lake's tables as they stand now; read it inside the block.

    ConfigError for what is not one SELECT, or is none that DuckDB understands; Retryable without a lake, or
    when disk or store cannot be read.
    """
    with duckdb.connect() as connection:
        try:
            _refuse_all_but_one_select(connection, sql)
            with told(str(lake)):
                _open(connection, lake, sql)
                for setting in _LOCKED:
                    connection.execute(setting)
                connection.execute(sql)
            yield Answer([column[0] for column in connection.description or ()], _rows(connection, lake))
        except duckdb.Error as error:
            raise ConfigError("the question", [str(error), _TABLES]) from error


def _open(connection: duckdb.DuckDBPyConnection, lake: Path, sql: str) -> None:
    """The tables that are named; all where none is, as in a question about them."""
    for name in [spec.name for spec in named(sql)] or NAMES:
        try:
            connection.register(name, open_table(lake, name).to_pyarrow_dataset())
        except TableNotFoundError as error:
            raise Retryable(f"{lake}: no lake here yet; ingest makes it") from error


def _refuse_all_but_one_select(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    kinds = [statement.type for statement in connection.extract_statements(sql)]
    if kinds != [duckdb.StatementType.SELECT]:
        found = ", ".join(kind.name for kind in kinds) or "nothing"
        raise ConfigError("the question", [f"found {found}; only one SELECT is answered", _TABLES])


def _rows(connection: duckdb.DuckDBPyConnection, lake: Path) -> Iterator[tuple[Any, ...]]:
    chunk: list[tuple[Any, ...]] = [()]
    while chunk:
        with told(str(lake)):
            chunk = connection.fetchmany(ROWS_A_FETCH)
        yield from chunk
