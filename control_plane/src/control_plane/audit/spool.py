"""Entries that were handed in and are not in the log yet: numbered segment files of framed records.

An append is one write(2): what it returned from survives the death of the process (not a power loss before
the next commit). A frame is `magic, length, CRC-32` (little-endian, 4 bytes each) and as many bytes. A
torn frame ends its segment; the writer begins another after any failure.

Each writer has a file of its own, which is a segment once it is cut: then it gets the next number. Any number
of processes may write in a folder; the one that took it commits the segments, in the order of their numbers.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp
from threading import Lock
from typing import NamedTuple, Self

from shared.errors import ConfigError, Retryable

SEGMENT_BYTES_MAX = 8 * 1024 * 1024  # read whole at a commit
SPOOL_BYTES_MAX = 1024 * 1024 * 1024  # a day's calls or more; past it entries are refused, and counted
MAGIC = b"PMA1"
LAST = "last"  # the file with the last number that was given

_HEAD = struct.Struct("<4sII")


class Segment(NamedTuple):
    """What a segment file held: whole records in order, and how many bytes after them make no record."""

    records: list[bytes]
    torn_bytes: int


class Spool:
    """The segments in `folder`, and this process's own file there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = Lock()
        self._lock_file = self._file = -1
        self._open = False
        self._written: list[Path] = []  # files of ours without a number, the one that is written to last
        self._size = self._waiting = 0
        self._known = 0  # the greatest number that this process has seen

    @classmethod
    def of(cls, log_folder: Path) -> Self:
        """That of a log."""
        return cls(log_folder / "spool")

    def take(self, after: int) -> None:
        """Write in the folder, and be the one that commits: new segments get numbers above `after` and all
        that lie there; what writers left when they were killed becomes segments.

        ConfigError when another process has taken it.
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
        with self._last_number() as file:
            self._known = max([after, _number_in(file), *self.numbers()])
            _write_number(file, self._known)
        self._written = [path for path in sorted(self._folder.glob("*.open")) if _abandoned(path)]
        self._open = True
        self.cut()

    def join(self) -> None:
        """Write in the folder, beside the process that took it."""
        with self._last_number() as file:
            self._known = _number_in(file)
        self._open = True

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
        """Make a segment of what was written; the numbers of all segments, oldest first."""
        with self._guard:
            self._end()
            while self._written:
                path = self._written[0]
                there = path.exists()
                if there:
                    self._give_number(path)
                del self._written[0]
                if not there:
                    raise FileNotFoundError(f"{path} was taken away with what was not committed")
            numbers = self.numbers()
            self._known = max([self._known, *numbers])
            self._waiting = sum(map(self._size_of, numbers))
            return numbers

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
        """Cut, and write no more. Who took the folder gives it free; the rest is for the next start."""
        with suppress(OSError):  # what has no number yet gets one at the next start
            self.cut()
        with self._guard:
            self._end()
            self._open = False
            if self._lock_file >= 0:
                os.close(self._lock_file)
                self._lock_file = -1

    def _begin(self) -> None:
        if not self._open:
            raise Retryable(f"{self._folder} is closed")
        self._file, path = mkstemp(".open", dir=self._folder)
        fcntl.flock(self._file, fcntl.LOCK_EX)  # ends with us
        self._written.append(Path(path))

    def _end(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._waiting, self._size = self._waiting + self._size, 0

    def _give_number(self, path: Path) -> None:
        """Both in one go: a segment that came to light after a later one would be taken for committed."""
        with self._last_number() as file:
            number = max(self._known, _number_in(file)) + 1
            _write_number(file, number)
            path.rename(self._path(number))

    @contextmanager
    def _last_number(self) -> Iterator[int]:
        """The file with the last number, for us alone."""
        file = os.open(self._folder / LAST, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)

    def _size_of(self, number: int) -> int:
        try:
            return self.size(number)
        except FileNotFoundError:  # committed meanwhile, by who took the folder
            return 0

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}.spool"


def _abandoned(path: Path) -> bool:
    """Whether the writer of a file has ended."""
    file = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(file)
    return True


def _number_in(file: int) -> int:
    """0 where it says none, as after a power loss."""
    text = os.pread(file, 12, 0)
    return int(text) if text.isdigit() else 0


def _write_number(file: int, number: int) -> None:
    os.pwrite(file, b"%012d" % number, 0)


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
