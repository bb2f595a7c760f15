"""Where the lake's tables lie: in the lake's own folder, or in an object store that a file in it names.

What is of one machine (the lock, ingest's progress, how far InfluxDB is) stays in the folder. Credentials
and endpoint come from the usual variables of each store: AWS_*, GOOGLE_APPLICATION_CREDENTIALS.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow.fs as pafs
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler

from control_plane.sinks.lake_tables import TABLES
from shared.errors import ConfigError, Retryable

OPTION = "--lake"
FILE_NAME = "address"
STORE = {  # of deltalake: who waits for a store is told in time, and tries again by itself
    "timeout": "8s",  # of one request; the largest is a part of some 10 MB
    "connect_timeout": "3s",
    "max_retries": "3",
    "retry_timeout": "6s",  # none is begun after it
    "aws_conditional_put": "etag",  # a commit never replaces another one, whatever the environment says
}

_EXPECTED = "s3://bucket/prefix or gs://bucket/prefix, of letters, digits and . _ -"
_ADDRESS = re.compile(r"(s3|gs)://[a-z0-9][a-z0-9._-]+(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_LAYOUT = re.compile(r"(\x1b\[\d*m|↳|\s)+")  # of the store's own messages
_READ_FAILED = "reading the stream registered as"  # how DuckDB says that it is not the question's fault


def settle(lake: Path, address: str | None) -> None:
    """Note, at the first start, that the tables lie at `address`; None leaves all as it is.

    ConfigError for what is no address, and when the tables lie elsewhere already; Retryable, and nothing
    is noted, when there is no such store or it is away.
    """
    if address is None:
        return
    address = address.rstrip("/")
    if not _ADDRESS.fullmatch(address):
        raise ConfigError(OPTION, [f"found {address!r}; expected {_EXPECTED}"])
    if address_of(lake) is None:
        if any((lake / spec.name).exists() for spec in TABLES.values()):
            raise ConfigError(OPTION, [f"found {address}; the tables lie in {lake} already, {_STAY}"])
        with told(address):
            _exists(f"{address}/{next(iter(TABLES.values())).name}")
        _note(lake, address)
    if (found := address_of(lake)) != address:
        problem = f"found {address}; the tables lie at {found} ({lake / FILE_NAME}), {_STAY}"
        raise ConfigError(OPTION, [problem])


_STAY = "and nothing moves them: leave --lake (PM_LAKE) out, or name another --data-dir"


def table_uri(lake: Path, name: str) -> str:
    """Where that table of the lake lies: a path, or an address."""
    return f"{address_of(lake) or lake}/{name}"


def open_table(lake: Path, name: str, version: int | None = None) -> DeltaTable:
    """The table as it is now, or was at `version`; deltalake's errors pass through."""
    uri = table_uri(lake, name)
    return DeltaTable(uri, version=version, storage_options=options_of(uri))


def has_table(lake: Path, name: str) -> bool:
    """Whether it is there; Retryable when the store is away."""
    with told(f"{lake}/{name}"):
        return _exists(table_uri(lake, name))


def options_of(uri: str) -> dict[str, str] | None:
    """What deltalake needs to know beyond the address and the environment."""
    return dict(STORE) if "://" in uri else None


def files_below(uri: str, sizes: Mapping[str, int] | None = None) -> pafs.FileSystem:
    """A table's files by their names below it.

    Without its size in `sizes` a file is looked up before it is opened, and that wait for the store
    would hold the interpreter's lock.
    """
    return pafs.PyFileSystem(DeltaStorageHandler(uri, options_of(uri), dict(sizes or {})))


@contextmanager
def told(place: str) -> Iterator[None]:
    """Retryable, in one line, for what the disk or the store says."""
    try:
        yield
    except (OSError, DeltaError) as error:
        raise Retryable(f"{place}: {plain(error)}") from error
    except duckdb.Error as error:
        if _READ_FAILED not in str(error):
            raise
        raise Retryable(f"{place}: {plain(error)}") from error


def plain(error: Exception) -> str:
    """The store's message as one line."""
    return _LAYOUT.sub(" ", str(error)).strip()


def _exists(uri: str) -> bool:
    try:
        DeltaTable(uri, storage_options=options_of(uri))
    except TableNotFoundError:
        return False
    return True


def address_of(lake: Path) -> str | None:
    """In the object store; None where the tables lie in the folder."""
    try:
        return (lake / FILE_NAME).read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _note(lake: Path, address: str) -> None:
    """Whole or not at all, and never over another one."""
    lake.mkdir(parents=True, exist_ok=True)
    new = lake / f"{FILE_NAME}.{os.getpid()}"
    new.write_text(f"{address}\n")
    try:
        os.link(new, lake / FILE_NAME)
    except FileExistsError:
        pass  # another first start was faster; its address is compared
    finally:
        new.unlink()
