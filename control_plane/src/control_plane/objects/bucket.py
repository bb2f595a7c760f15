"""A place in an object store, S3's or Google's; credentials come from the usual variables of each."""

from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from shared.errors import ConfigError, Rejected, Retryable

SCHEMES = ("s3://", "gs://")
RETRIES_MAX = 3  # of one request; who asks tries again later
RETRY = timedelta(seconds=20)  # for all of them
EXAMPLE = "s3://bucket/prefix or gs://bucket/prefix"


class Stored(NamedTuple):
    """An object's size in bytes and when it was written, in seconds since 1970 by the store's clock."""

    size: int
    written_s: float


class Bucket:
    """Objects below one address. Blocking. Retryable when the store does not answer or refuses us."""

    def __init__(self, address: str, option: str) -> None:
        if not address.startswith(SCHEMES) or not address.partition("://")[2].partition("/")[0]:
            raise ConfigError(option, [f"found {address!r}; expected {EXAMPLE}"])
        self.address = address.rstrip("/")
        try:
            self._store = from_url(
                self.address, retry_config={"max_retries": RETRIES_MAX, "retry_timeout": RETRY}
            )
        except BaseError as error:
            raise ConfigError(option, [f"{address}: {_first_line(error)}"]) from error

    def get(self, name: str, bytes_max: int) -> bytes:
        """An object's bytes; FileNotFoundError when it is not there, Rejected when it is longer than that."""
        try:
            found = obstore.get(self._store, name)
            if found.meta["size"] > bytes_max:
                raise Rejected(f"{self.address}/{name}: has {found.meta['size']} bytes; at most {bytes_max}")
            return bytes(found.bytes())
        except BaseError as error:
            raise self._away(name, error) from error

    def listing(self) -> dict[str, Stored]:
        """Every object, by its name below the address."""
        try:
            return {
                each["path"]: Stored(each["size"], each["last_modified"].timestamp())
                for batch in obstore.list(self._store)
                for each in batch
            }
        except BaseError as error:
            raise self._away("", error) from error

    def put(self, name: str, file: Path) -> None:
        """Write an object, whole or not at all."""
        try:
            obstore.put(self._store, name, file)
        except BaseError as error:
            raise self._away(name, error) from error

    def _away(self, name: str, error: BaseError) -> Retryable:
        place = f"{self.address}/{name}" if name else self.address
        return Retryable(f"{place}: {_first_line(error)}. Credentials and endpoint come from the environment")


def _first_line(error: BaseError) -> str:
    return str(error).partition("\n")[0].strip()
