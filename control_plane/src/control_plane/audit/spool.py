"""Entries that were handed in and are not in the log yet: numbered segment files of framed records.

An append is one write(2): what it returned from survives the death of the process (not a power loss before
the next commit). A frame is `magic, length, CRC-32` (little-endian, 4 bytes each) and as many bytes. A
torn frame ends its segment; the writer begins another after any failure.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import NamedTuple, Self

from shared.errors import ConfigError, Retryable

SEGMENT_BYTES_MAX = 8 * 1024 * 1024  # read whole at a commit
SPOOL_BYTES_MAX = 1024 * 1024 * 1024  # a day's calls or more; past it entries are refused, and counted
MAGIC = b"PMA1"

_HEAD = struct.Struct("<4sII")


class Segment(NamedTuple):
    """What a segment file held: whole records in order, and how many bytes after them make no record."""

    records: list[bytes]
    torn_bytes: int


class Spool:
    """The segments in `folder`; one process at a time may hold it open."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = Lock()
        self._lock_file = self._file = -1
        self._next = self._size = self._waiting = 0

    @classmethod
    def of(cls, log_folder: Path) -> Self:
        """That of a log."""
        return cls(log_folder / "spool")

    def open(self, after: int) -> None:
        """Take the folder; new segments get numbers above `after` and all that lie there.

        ConfigError when another process has it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise ConfigError(
                str(self._folder), ["another inference server writes here; give this one its own --data-dir"]
            ) from error
        self._lock_file = lock
        self._next = max([after, *self.numbers()]) + 1
        self._waiting = sum(map(self.size, self.numbers()))

    def append(self, record: bytes) -> None:
        """Add a record; OSError or Retryable (full) when it is not there, and later ones are unharmed."""
        frame = _HEAD.pack(MAGIC, len(record), zlib.crc32(record)) + record
        with self._guard:
            if self._waiting + self._size >= SPOOL_BYTES_MAX:
                raise Retryable(f"{self._folder} holds {SPOOL_BYTES_MAX} bytes that cannot be committed")
            if self._file < 0:
                self._begin()
            try:
                written = os.write(self._file, frame)
            except OSError:
                self._end()
                raise
            self._size += written
            if written < len(frame):
                self._end()
                raise OSError(f"{self._folder}: the disk took {written} of {len(frame)} bytes")
            if self._size >= SEGMENT_BYTES_MAX:
                self._end()

    def cut(self) -> list[int]:
        """End the segment that is written to; the numbers of all that can be read now, oldest first."""
        with self._guard:
            self._end()
            return self.numbers()

    def read(self, number: int) -> Segment:
        """A segment's records."""
        data = self._path(number).read_bytes()
        records = list(_records(data))
        return Segment(records, len(data) - sum(_HEAD.size + len(record) for record in records))

    def size(self, number: int) -> int:
        """Bytes of a segment."""
        return self._path(number).stat().st_size

    def remove(self, number: int) -> None:
        """Forget a segment whose records are in the log."""
        size = self.size(number)
        self._path(number).unlink()
        with self._guard:
            self._waiting -= size

    def numbers(self) -> list[int]:
        """Of the segments on disk, oldest first."""
        return sorted(int(path.stem) for path in self._folder.glob("*.spool"))

    def close(self) -> None:
        """Give the folder free; what lies in it is committed at the next start."""
        with self._guard:
            self._end()
            if self._lock_file >= 0:
                os.close(self._lock_file)
                self._lock_file = -1

    def _begin(self) -> None:
        if self._lock_file < 0:
            raise Retryable(f"{self._folder} is closed")
        self._file = os.open(self._path(self._next), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._next += 1

    def _end(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._waiting, self._size = self._waiting + self._size, 0

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}.spool"


def _records(data: bytes) -> Iterator[bytes]:
    """Whole records up to the first that is not."""
    at = 0
    while at + _HEAD.size <= len(data):
        magic, length, checksum = _HEAD.unpack_from(data, at)
        record = data[at + _HEAD.size : at + _HEAD.size + length]
        if magic != MAGIC or len(record) < length or zlib.crc32(record) != checksum:
            return
        yield record
        at += _HEAD.size + length
