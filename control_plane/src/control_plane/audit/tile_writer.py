"""Writes a log's folder (see `tiles`): a full tile once and never again, and the checkpoint last.

So all under a checkpoint is there when it is. What a crash left beyond it goes when the log is next opened.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from control_plane.audit.tile_paths import (
    ENTRIES,
    ENTRY_BYTES_MAX,
    TILE_WIDTH,
    bundle,
    entries_of,
    hashes_of,
    levels,
    tile_count,
    tile_path,
    tile_paths,
)
from control_plane.audit.tiles import CHECKPOINT, TileStore
from shared.durable import flush_folder
from shared.merkle import Frontier, leaf_hash, root_hash


class TileWriter:
    """Appends to one log's folder, within `written_alone`. What is appended counts once it is sealed."""

    def __init__(self, folder: Path) -> None:
        self.store = TileStore(folder)
        self._sealed = self.store.size
        self.remove_strays()
        self._tiles = [
            hashes_of(self.store.read(level, full, self._sealed)) if width else []
            for level in range(levels(self._sealed))
            for full, width in [tile_count(level, self._sealed)]
        ]
        full, width = tile_count(0, self._sealed)
        self._bundle = entries_of(self.store.read(ENTRIES, full, self._sealed)) if width else []
        peaks = [peak for tile in reversed(self._tiles) for peak in Frontier(tile).peaks]
        self.frontier = Frontier.from_peaks(self._sealed, peaks)

    @property
    def sealed(self) -> int:
        """The entries under the checkpoint."""
        return self._sealed

    def append(self, entry: bytes) -> None:
        """Add an entry; a tile that is now full is written. ValueError for an entry that is too long."""
        if len(entry) > ENTRY_BYTES_MAX:
            raise ValueError(
                f"entry {self.frontier.size} has {len(entry)} bytes, more than {ENTRY_BYTES_MAX}"
            )
        hashed = leaf_hash(entry)
        number = self.frontier.size // TILE_WIDTH
        self._bundle.append(entry)
        self.frontier.append(hashed)
        if len(self._bundle) == TILE_WIDTH:
            self._write(tile_path(ENTRIES, number), bundle(self._bundle))
            self._bundle = []
        self._add(0, number, hashed)

    def _add(self, level: int, number: int, hashed: bytes) -> None:
        if level == len(self._tiles):
            self._tiles.append([])
        tile = self._tiles[level]
        tile.append(hashed)
        if len(tile) == TILE_WIDTH:
            self._write(tile_path(level, number), b"".join(tile))
            self._tiles[level] = []
            self._add(level + 1, number // TILE_WIDTH, root_hash(tile))

    def seal(self, note: str) -> None:
        """Make all that was appended durable under `note`, a checkpoint of just that size."""
        size = self.frontier.size
        for level, tile in enumerate(self._tiles):
            if tile:
                self._write(tile_path(level, tile_count(level, size)[0], len(tile)), b"".join(tile))
        if self._bundle:
            name = tile_path(ENTRIES, tile_count(0, size)[0], len(self._bundle))
            self._write(name, bundle(self._bundle))
        self._write(CHECKPOINT, note.encode())
        self._remove_partials(size)
        self._sealed = size

    def _remove_partials(self, size: int) -> None:
        """The last seal's partial tiles, where others have taken their place."""
        now = set(_partials(size))
        for name in _partials(self._sealed):
            if name not in now:
                path = self.store.folder / name
                path.unlink(missing_ok=True)
                if not any(path.parent.iterdir()):
                    path.parent.rmdir()

    def remove_strays(self) -> None:
        """Take away what is not of the log as its checkpoint has it: of a crash, or never sealed."""
        own = {CHECKPOINT, *tile_paths(self._sealed)}
        for name in [name for name in self.store.files() if name not in own]:
            (self.store.folder / name).unlink()

    def _write(self, name: str, data: bytes) -> None:
        """The whole file or none of it, on the disk when this returns."""
        path = self.store.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.new")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        flush_folder(path.parent)


def _partials(size: int) -> Iterator[str]:
    for level in (ENTRIES, *range(levels(size))):
        full, width = tile_count(0 if isinstance(level, str) else level, size)
        if width:
            yield tile_path(level, full, width)
