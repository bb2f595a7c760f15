"""Does a log's folder hold? Needs the files and public keys, nothing else.

Entries and tiles say the same twice, and the checkpoint signs it: where one of the two has the signed
root, what differs in the other is what was changed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from control_plane.audit.archive import Leaf
from control_plane.audit.tile_paths import ENTRIES, TILE_WIDTH, entries_of, hashes_of, tile_count, tile_path
from control_plane.audit.tile_paths import levels as levels_of
from control_plane.audit.tiles import CHECKPOINT, TileStore, read_alone
from control_plane.audit.verify import PROBLEMS_MAX, EntryProblem, SiteVerification, checkpoint_problem, claim
from shared.checkpoint import Checkpoint, NoteError, VerifierKey, open_checkpoint, signers
from shared.merkle import EMPTY_ROOT, Frontier, leaf_hash, root_hash


class _Odd(NamedTuple):
    """An entry and a hash that do not belong together."""

    entry: int
    tile: str


def verify_tiles(
    folder: Path,
    site: str,
    key: VerifierKey,
    witness_key: VerifierKey | None,
    entry_problem: EntryProblem,
    kept: Sequence[str] = (),
) -> SiteVerification:
    """Check every file of the folder against the checkpoint in it, and that there is no other file.

    `kept` are checkpoints that somebody else kept, co-signed or not: the log must still have them.
    """
    result = SiteVerification(site, "tiles")
    store = TileStore(folder)
    if not folder.is_dir():
        result.note(f"{folder}: is not there: nothing of this log has been kept as files")
        return result
    with read_alone(folder):
        checkpoint = _checkpoint(result, store, key, witness_key)
        if checkpoint is not None:
            claims = [claim("a checkpoint that was kept", note, key) for note in kept]
            _Check(result, store, checkpoint, entry_problem, claims).run(key.name)
    return result


def _checkpoint(
    result: SiteVerification, store: TileStore, key: VerifierKey, witness_key: VerifierKey | None
) -> Checkpoint | None:
    """The folder's checkpoint, signed by the log and the witness and by nobody else."""
    keys = [key] if witness_key is None else [key, witness_key]
    try:
        note = store.checkpoint()
        if note is None:
            raise NoteError("is missing: nothing here is signed")
        found = [open_checkpoint(note, each) for each in keys]
        names = [name for name, _ in signers(note)]
        if witness_key is not None and names != [each.name for each in keys]:
            raise NoteError(f"is signed by {', '.join(names)}; the log signs once, then the witness")
    except (NoteError, OSError) as error:
        result.note(f"{CHECKPOINT}: {error}")
        return None
    result.witnessed = len(keys) - 1
    return found[0]


class _Check:
    """One pass over the files; holds a tile a level and what it found odd."""

    def __init__(
        self,
        result: SiteVerification,
        store: TileStore,
        checkpoint: Checkpoint,
        entry_problem: EntryProblem,
        kept: list[Checkpoint | str],
    ) -> None:
        self._result, self._store, self._checkpoint = result, store, checkpoint
        self._entry_problem, self._kept = entry_problem, kept
        self._roots = {each.size: b"" for each in kept if isinstance(each, Checkpoint)}
        self._by_entries, self._by_tiles = Frontier(), Frontier()
        self._expected = {CHECKPOINT}  # every file that belongs to the log
        self._odd: list[_Odd] = []
        self._upper: list[list[set[bytes]]] = []  # a level: what each hash of its open tile may be

    def run(self, origin: str) -> None:
        size = self._checkpoint.size
        for number in range(-(-size // TILE_WIDTH)):
            self._bundle(number, min(TILE_WIDTH, size - number * TILE_WIDTH))
            if len(self._result.problems) >= PROBLEMS_MAX:
                return  # the rest would say nothing new, and the size may be a lie
        for level in range(1, levels_of(size)):
            full, width = tile_count(level, size)
            if width:
                self._upper_tile(level, full, width)
        self._verdict(origin)
        self._strays()

    def _bundle(self, number: int, width: int) -> None:
        """A bundle of entries and the tile of their hashes."""
        entries, tile = self._entries(number, width), self._hashes(0, number, width)
        found = [leaf_hash(entry) for entry in entries or ()]
        for hashed in found:
            self._by_entries.append(hashed)
            if self._by_entries.size in self._roots:
                self._roots[self._by_entries.size] = self._by_entries.root()
        for hashed in tile or ():
            self._by_tiles.append(hashed)
        name = tile_path(0, number, width)
        for place, (ours, theirs) in enumerate(zip(found, tile or (), strict=False)):
            if ours != theirs and len(self._odd) < PROBLEMS_MAX:
                self._odd.append(_Odd(number * TILE_WIDTH + place, name))
        if width == TILE_WIDTH:
            self._above(1, number, {root_hash(each) for each in (found, tile) if each})

    def _entries(self, number: int, width: int) -> list[bytes] | None:
        name = tile_path(ENTRIES, number, width)
        data = self._file(name)
        if data is None:
            return None
        try:
            entries = entries_of(data)
        except ValueError as error:
            self._result.note(f"{name}: {error}")
            return None
        if len(entries) != width:
            self._result.note(f"{name}: has {len(entries)} entries, not {width}")
            return None
        first = number * TILE_WIDTH
        for place, entry in enumerate(entries):
            problem = self._entry_problem(Leaf(first + place, entry))
            if problem:
                self._result.note(f"entry {first + place} in {name}: {problem}")
        self._result.entries += width
        return entries

    def _hashes(self, level: int, number: int, width: int) -> list[bytes] | None:
        name = tile_path(level, number, width)
        data = self._file(name)
        if data is None:
            return None
        try:
            hashes = hashes_of(data)
        except ValueError as error:
            self._result.note(f"{name}: {error}")
            return None
        if len(hashes) != width:
            self._result.note(f"{name}: has {len(hashes)} hashes, not {width}")
            return None
        return hashes

    def _file(self, name: str) -> bytes | None:
        self._expected.add(name)
        try:
            data = (self._store.folder / name).read_bytes()
        except OSError as error:
            self._result.note(f"{name}: cannot be read: {error.strerror}")
            return None
        return data

    def _above(self, level: int, number: int, roots: set[bytes]) -> None:
        """A tile is whole: what the next level's hash of it may be."""
        while len(self._upper) < level:
            self._upper.append([])
        hashes = self._upper[level - 1]
        hashes.append(roots)
        if len(hashes) == TILE_WIDTH:
            found = self._upper_tile(level, number // TILE_WIDTH, TILE_WIDTH)
            self._above(level + 1, number // TILE_WIDTH, found)

    def _upper_tile(self, level: int, number: int, width: int) -> set[bytes]:
        """Hold a tile of hashes of tiles against these; what its own root may be."""
        tile, expected = self._hashes(level, number, width), self._upper[level - 1]
        self._upper[level - 1] = []
        name = tile_path(level, number, width)
        for place, (found, roots) in enumerate(zip(tile or (), expected, strict=True) if tile else ()):
            if roots and found not in roots:
                below = tile_path(level - 1, number * TILE_WIDTH + place)
                self._result.note(f"{name}: its hash {place} is not that of {below}")
        sure = [next(iter(roots)) for roots in expected if len(roots) == 1]
        return {root_hash(hashes) for hashes in (tile, sure) if hashes and len(hashes) == width}

    def _verdict(self, origin: str) -> None:
        """Who of entries and tiles has the signed root, and so who is wrong where they differ."""
        size, signed = self._checkpoint.size, self._checkpoint.root
        entries_hold = (self._by_entries.size, self._by_entries.root()) == (size, signed)
        tiles_hold = (self._by_tiles.size, self._by_tiles.root()) == (size, signed)
        for index, tile in self._odd:
            if entries_hold:
                self._result.note(f"{tile}: its hash {index % TILE_WIDTH} is not that of entry {index}")
            elif tiles_hold:
                self._result.note(f"entry {index}: its bytes are not those whose hash is in {tile}")
            else:
                self._result.note(f"entry {index} and its hash in {tile} do not belong together")
        root = self._by_entries.root() if self._by_entries.size == size else None
        problem = checkpoint_problem(self._checkpoint, origin, self._result.entries, root)
        if problem and (not self._odd or not tiles_hold):
            self._result.note(problem)
        if problem is None:
            self._result.checkpoints, self._result.covered = 1, size
            self._hold_kept(origin, size)

    def _hold_kept(self, origin: str, size: int) -> None:
        """What was kept elsewhere: a log that was put back to an earlier state holds by itself."""
        for kept in self._kept:
            if isinstance(kept, Checkpoint) and kept.size > size:
                problem: str | None = f"{CHECKPOINT}: is of {size} entries; {kept.size} were signed before"
            elif isinstance(kept, Checkpoint):
                problem = checkpoint_problem(kept, origin, size, self._roots[kept.size] or EMPTY_ROOT)
            else:
                problem = kept
            if problem:
                self._result.note(problem)

    def _strays(self) -> None:
        for name in sorted(set(self._store.files()) - self._expected):
            self._result.note(f"{name}: is no file of a log of {self._checkpoint.size} entries")
