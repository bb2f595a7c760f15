"""A disk that fails when told to, and that forgets what was not flushed: under the real SQLite library.

SQLite reaches its files through a table of functions (its VFS). `FaultyDisk` registers a copy of the
operating system's table in which writing, cutting and flushing pass through here: the code under test
opens its files as ever. Enters: which call is to fail. Leaves: SQLite's own error codes, at that call.
"""

import _sqlite3
import ctypes
import random
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_int64, c_void_p, sizeof, string_at
from pathlib import Path
from typing import Any

OK, FULL, IOERR_WRITE, IOERR_FSYNC, IOERR_TRUNCATE = 0, 13, 778, 1034, 1546  # SQLite's result codes
SECTOR_BYTES = 512
_MAIN_DB, _MAIN_JOURNAL, _WAL = 0x100, 0x800, 0x80000  # SQLITE_OPEN_*

_Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, POINTER(c_int))  # SQLite keeps the name
_Write = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
_Sync = CFUNCTYPE(c_int, c_void_p, c_int)


class _Vfs(Structure):
    """sqlite3_vfs, version 3."""

    _fields_ = [
        ("version", c_int),
        ("file_bytes", c_int),
        ("path_max", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", c_void_p),
        ("others", c_void_p * 15),
    ]


class _Methods(Structure):
    """sqlite3_io_methods, version 3."""

    _fields_ = [
        ("version", c_int),
        ("close", c_void_p),
        ("read", c_void_p),
        ("write", c_void_p),
        ("truncate", c_void_p),
        ("sync", c_void_p),
        ("others", c_void_p * 13),
    ]


class FaultyDisk:
    """Fails the `fail_at`-th call from now (0: the next), and with `lasting` every later one too.

    `full` makes a failing write say that the disk is full.
    """

    def __init__(self) -> None:
        self.fail_at: int | None = None
        self.lasting = False
        self.full = False
        self.calls = self.failed = self.flushes = 0
        self._flushed: dict[Path, bytes] = {}
        self._paths: dict[int, Path] = {}
        self._kept: list[Any] = []
        self._real: dict[int, _Methods] = {}
        self._tables: dict[int, _Methods] = {}

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """SQLite's default disk, for connections that are opened meanwhile."""
        library = ctypes.CDLL(_sqlite3.__file__)
        library.sqlite3_vfs_find.restype = c_void_p
        library.sqlite3_vfs_find.argtypes = [c_char_p]
        library.sqlite3_vfs_unregister.argtypes = [c_void_p]
        library.sqlite3_vfs_register.argtypes = [c_void_p, c_int]
        real = library.sqlite3_vfs_find(None)
        vfs = _Vfs.from_buffer_copy(_Vfs.from_address(real))
        vfs.name, vfs.next = b"faulty", None
        opened = _Open(vfs.open)
        vfs.open = self._function(_Open, lambda *arguments: self._open(opened, *arguments))
        assert library.sqlite3_vfs_register(byref(vfs), 1) == OK
        try:
            yield
        finally:
            library.sqlite3_vfs_unregister(byref(vfs))
            library.sqlite3_vfs_register(real, 1)

    def work(self) -> None:
        """Let every call through again."""
        self.fail_at, self.lasting, self.full = None, False, False

    def _fails(self) -> bool:
        self.calls += 1
        if self.fail_at is None:
            return False
        self.fail_at -= 1
        failing = self.fail_at == -1 or (self.lasting and self.fail_at < 0)
        self.failed += failing
        return failing

    def _function(self, kind: Any, call: Any) -> int:
        function = kind(call)
        self._kept.append(function)
        return ctypes.cast(function, c_void_p).value or 0

    def _open(self, real: Any, vfs: int, name: int, file: int, flags: int, out: Any) -> int:
        result = int(real(vfs, name, file, flags, out))
        if result == OK and flags & (_MAIN_DB | _MAIN_JOURNAL | _WAL):
            path = Path(string_at(name).decode())
            self._paths[file] = path
            found = path.read_bytes()
            if path not in self._flushed or not found:  # empty: made anew, a removed one does not come back
                self._flushed[path] = found
            address = c_void_p.from_address(file)
            address.value = self._table(address.value or 0)
        return result

    def _table(self, real: int) -> int:
        if real not in self._tables:
            table = _Methods.from_buffer_copy(_Methods.from_address(real))
            write, truncate, sync = _Write(table.write), _Truncate(table.truncate), _Sync(table.sync)
            table.write = self._function(_Write, lambda *a: self._write(write, *a))
            table.truncate = self._function(_Truncate, lambda *a: self._truncate(truncate, *a))
            table.sync = self._function(_Sync, lambda *a: self._sync(sync, *a))
            self._tables[real] = table
        return ctypes.addressof(self._tables[real])

    def _write(self, real: Any, file: int, data: int, amount: int, offset: int) -> int:
        if self._fails():
            real(file, data, amount // 2, offset)  # half of it reaches the disk
            return FULL if self.full else IOERR_WRITE
        return int(real(file, data, amount, offset))

    def _truncate(self, real: Any, file: int, size: int) -> int:
        return IOERR_TRUNCATE if self._fails() else int(real(file, size))

    def _sync(self, real: Any, file: int, flags: int) -> int:
        if self._fails():
            return IOERR_FSYNC
        self.flushes += 1
        path = self._paths[file]
        if path.exists():
            self._flushed[path] = path.read_bytes()
        return OK  # the memory here is the disk: nothing is gained by waiting for a real one

    def killed(self, folder: Path, to: Path) -> None:
        """What a process that is killed now leaves: every write, flushed or not."""
        to.mkdir()
        for part in folder.iterdir():
            if not part.name.endswith("-shm"):
                (to / part.name).write_bytes(part.read_bytes())
                self._flushed[to / part.name] = self._flushed.get(part, part.read_bytes())

    def power_lost(self, folder: Path, to: Path, random_: random.Random) -> None:
        """What a power loss leaves: all that was flushed, and of the later writes any sectors."""
        to.mkdir()
        for part in folder.iterdir():
            if part.name.endswith("-shm"):
                continue
            now = part.read_bytes()
            flushed = self._flushed.get(part, now)
            left = _some_sectors(flushed, now, random_)
            (to / part.name).write_bytes(left)
            self._flushed[to / part.name] = left


def _some_sectors(old: bytes, new: bytes, random_: random.Random) -> bytes:
    """Each sector as it was or as it is, and a length in between."""
    length = random_.choice(
        [len(old), len(new), random_.randint(min(len(old), len(new)), max(len(old), len(new)))]
    )
    sectors = []
    for start in range(0, length, SECTOR_BYTES):
        end = start + SECTOR_BYTES
        chosen = (old if random_.random() < 0.5 else new)[start:end]
        sectors.append(chosen.ljust(min(SECTOR_BYTES, length - start), b"\0"))
    return b"".join(sectors)


assert sizeof(_Vfs) == 168, "sqlite3_vfs, version 3, has 168 bytes on 64-bit Linux"
