"""One log as files: `checkpoint`, `tile/<level>/<number>[.p/<width>]`, `tile/entries/...` (C2SP tlog-tiles).

Any static file server can serve the folder; `tile_writer` writes it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from control_plane.audit.tile_paths import (
    ENTRIES,
    TILE_WIDTH,
    entries_of,
    hashes_of,
    tile_count,
    tile_path,
)
from shared.checkpoint import NoteError, read_checkpoint
from shared.errors import Retryable
from shared.merkle import Frontier, audit_path, root_hash

CHECKPOINT = "checkpoint"


def read_note(path: Path) -> str:
    """A note as it was written: no line end is taken for another; NoteError when it is no text."""
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise NoteError(f"{path.name}: is not UTF-8") from error


class TileStore:
    """Reads one log's folder; says nothing of whether it holds: `tile_check` does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def checkpoint(self) -> str | None:
        """The note over all that is here, or None where nothing is."""
        path = self.folder / CHECKPOINT
        return read_note(path) if path.exists() else None

    @property
    def size(self) -> int:
        """The entries that the checkpoint says there are; NoteError when it is no checkpoint."""
        note = self.checkpoint()
        return read_checkpoint(note).size if note is not None else 0

    def files(self) -> Iterator[str]:
        """The name of every file in the folder."""
        for path in self.folder.rglob("*"):
            if not path.is_dir():
                yield path.relative_to(self.folder).as_posix()

    def read(self, level: int | str, number: int, size: int) -> bytes:
        """A tile, or at level `ENTRIES` a bundle, as it is in a log of `size`; OSError when it is missing."""
        full, width = tile_count(0 if isinstance(level, str) else level, size)
        name = tile_path(level, number, TILE_WIDTH if number < full else width)
        return (self.folder / name).read_bytes()

    def entry(self, index: int) -> bytes:
        """The bytes of one entry; LookupError beyond the checkpoint, OSError or ValueError for damage."""
        size = self.size
        if not 0 <= index < size:
            raise LookupError(f"found index {index}; the checkpoint covers {size} entries")
        return entries_of(self.read(ENTRIES, index // TILE_WIDTH, size))[index % TILE_WIDTH]

    def leaf_hashes(self, size: int) -> Iterator[bytes]:
        """The hashes of the first `size` entries, from the tiles."""
        whole = self.size
        for number in range(-(-size // TILE_WIDTH)):
            yield from hashes_of(self.read(0, number, whole))[: size - number * TILE_WIDTH]

    def inclusion_proof(self, index: int) -> list[bytes]:
        """The audit path of an entry under the checkpoint; reads a tile a level and node."""
        size = self.size
        return [self._node(first, end, size) for first, end in audit_path(index, size)]

    def _node(self, first: int, end: int, size: int) -> bytes:
        """The root over the entries `[first, end)`, which is aligned as every node of a tree is."""
        peaks, at = [], first
        while at < end:
            height = (end - at).bit_length() - 1
            level, rest = divmod(height, 8)
            start = at >> 8 * level
            tile = hashes_of(self.read(level, start // TILE_WIDTH, size))
            peaks.append(root_hash(tile[start % TILE_WIDTH : start % TILE_WIDTH + (1 << rest)]))
            at += 1 << height
        return Frontier.from_peaks(end - first, peaks).root()


@contextmanager
def read_alone(folder: Path) -> Iterator[None]:
    """No writer comes between what is read; waits for one that is at work."""
    with _locked(folder, fcntl.LOCK_SH):
        yield


@contextmanager
def written_alone(folder: Path) -> Iterator[None]:
    """Nobody reads the log as a whole meanwhile; Retryable while somebody does. Makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        yield


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """A lock on the folder itself, which needs no file of its own and no right to write."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, how)
        except BlockingIOError as error:
            raise Retryable(f"{folder}: another process reads this log as a whole; try again") from error
        yield
    finally:
        os.close(descriptor)
