"""What the plant showed, written before it was shown: the truth that a loss count is taken against."""

import json
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from shared.errors import ConfigError
from shared.schemas import utc_now

TAIL_BYTES = 4 * 1024 * 1024  # read back at a start; holds the last tick of some 10,000 components


class Ledger:
    """Appends one JSON line per component and cycle.

    Opened on an existing file it cuts off a torn or incomplete last tick: that was never shown,
    because the line stands before the registers change.
    """

    def __init__(self, path: Path, keys: Collection[str]) -> None:
        self._path = path
        self._keys = frozenset(keys)
        self._file: BinaryIO | None = None
        self.last_cycle: int | None = None

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("ab+")
        except OSError as error:
            raise ConfigError("--ledger", [f"{self._path} cannot be written: {error.strerror}"]) from error
        try:
            self.last_cycle, size = self._last_complete_tick(self._file)
            self._file.truncate(size)
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, entries: list[dict[str, Any]]) -> None:
        """Write one tick's lines; they survive a kill of this process once this returns."""
        if self._file is None:
            raise ValueError("the ledger is not open")
        time = utc_now().isoformat()
        lines = [json.dumps({"time": time, **entry}) + "\n" for entry in entries]
        self._file.write("".join(lines).encode())
        self._file.flush()

    def _last_complete_tick(self, file: BinaryIO) -> tuple[int | None, int]:
        """The last cycle that every component has, and the file's size up to its end."""
        start = max(0, file.seek(0, 2) - TAIL_BYTES)
        file.seek(start)
        cycle, size, offset, lines = None, start, start, 0
        found: set[str] = set()
        pending: set[str] = set()  # components with a line since the last complete tick
        for line in file.read().splitlines(keepends=True):
            offset += len(line)
            entry = _parse(line)  # None: the tail's first line, cut in two, or a torn last one
            if entry is None:
                continue
            lines += 1
            found.add(entry[0])
            pending = {entry[0]} if entry[0] in pending else pending | {entry[0]}
            if pending == self._keys:
                cycle, size, pending = entry[1], offset, set()
        if not found <= self._keys or (cycle is None and lines > len(found)):
            raise ConfigError(
                "--ledger",
                [f"{self._path} is the ledger of another plant: it has {', '.join(sorted(found))}"],
            )
        return cycle, size


def _parse(line: bytes) -> tuple[str, int] | None:
    """Key and cycle of a whole line; None when it is torn."""
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
        return str(entry["key"]), int(entry["cycle"])
    except (ValueError, KeyError, TypeError):
        return None
