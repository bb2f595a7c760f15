"""The centre as a witness: it co-signs what it has checked against what it already co-signed.

What it co-signed it keeps as files (`audit.tiles`) and goes on from there: an entry is hashed once. A
checkpoint that comes late, of a size that is already co-signed, is held against the files.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from control_plane.audit.archive import LogArchive
from control_plane.audit.tile_writer import TileWriter
from control_plane.audit.tiles import TileStore, read_note, written_alone
from control_plane.audit.verify import checkpoint_problem
from shared.checkpoint import (
    Checkpoint,
    NoteError,
    VerifierKey,
    cosign,
    open_checkpoint,
    verifier_key,
)
from shared.durable import flush_folder
from shared.merkle import Frontier

WITNESS_NAME = "pm-stack-smr/witness"
NOTES_KEPT = 1_000  # of a site, in files: one every 5 s, each of which says all that those before it say


class Witnessed(NamedTuple):
    """A co-signed checkpoint of a site, to send back to it."""

    site: str
    size: int
    note: str


@dataclass
class _Log:
    """A site's files, the size co-signed last, and how many checkpoints up to there have been checked."""

    writer: TileWriter
    noted: int
    late: int = -1


class Witness:
    """Keeps co-signed notes as `<folder>/<site>/<size>.note` and what they cover under `tiles`; what
    contradicts them is never signed."""

    def __init__(
        self,
        key: Ed25519PrivateKey,
        folder: Path,
        archive: LogArchive,
        key_of: Callable[[str], VerifierKey | None],
        tiles: Path,
    ) -> None:
        self._key, self._folder, self._archive, self._key_of = key, folder, archive, key_of
        self._tiles = tiles
        self._logs: dict[str, _Log] = {}
        self.findings: dict[str, str] = {}

    @property
    def verifier(self) -> VerifierKey:
        """The key that a co-signature is checked with."""
        return verifier_key(WITNESS_NAME, self._key.public_key())

    def look(self, site: str) -> Witnessed | None:
        """Check the site's new checkpoints whose entries are here; co-sign the newest when all hold.

        A contradiction is put in `findings`; nothing of the site is co-signed before a person has looked.
        Retryable while somebody verifies the files or the lake has no tables.
        """
        key = self._key_of(site)
        if key is None or site in self.findings:
            return None
        try:
            with written_alone(self._tiles / site):
                return self._look(site, key)
        except NoteError as error:
            self.findings[site] = str(error)
            return None

    def _look(self, site: str, key: VerifierKey) -> Witnessed | None:
        log = self._logs.pop(site, None) or self._open(site, key)
        try:
            self._check_late(site, key, log)
            newest = self._follow(site, key, log)
        except BaseException:
            log.writer.remove_strays()
            raise
        if newest is None:
            self._logs[site] = log
            return None
        checkpoint, note = newest
        if checkpoint.size < log.noted:  # what was co-signed has not come back yet
            log.writer.remove_strays()
            return None
        signed = note if checkpoint.size == log.noted else cosign(note, WITNESS_NAME, self._key)
        log.writer.seal(signed)
        self._logs[site] = _Log(log.writer, checkpoint.size, log.late)
        if checkpoint.size == log.noted:
            return None
        self._keep(site, checkpoint.size, signed)
        return Witnessed(site, checkpoint.size, signed)

    def _open(self, site: str, key: VerifierKey) -> _Log:
        """Take a log up from its files; NoteError when they are not what was co-signed."""
        folder = self._tiles / site
        try:
            writer = TileWriter(folder)
        except (OSError, ValueError) as error:
            raise NoteError(f"{folder}: cannot be read: {error}") from error
        note = writer.store.checkpoint()
        if note is not None:
            open_checkpoint(note, self.verifier)
            _demand(open_checkpoint(note, key), key, writer.frontier, "the files have changed since")
            if writer.sealed > self._last_size(site):
                self._keep(site, writer.sealed, note)  # a crash came between the two
        return _Log(writer, self._last_size(site))

    def _check_late(self, site: str, key: VerifierKey, log: _Log) -> None:
        """Hold checkpoints of what is co-signed already against the files, where new ones of these came."""
        size = log.writer.sealed
        count = self._archive.checkpoint_count(site, size)
        if count == log.late:
            return
        late = [open_checkpoint(note, key) for note in self._archive.checkpoints(site, up_to=size)]
        roots = _roots(log.writer.store, {checkpoint.size for checkpoint in late})
        for checkpoint in late:
            problem = checkpoint_problem(checkpoint, key.name, size, roots.get(checkpoint.size))
            if problem:
                raise NoteError(problem)
        log.late = len(late)

    def _follow(self, site: str, key: VerifierKey, log: _Log) -> tuple[Checkpoint, str] | None:
        """Append what the new checkpoints cover; the newest whose entries are here, with its note."""
        frontier, newest, entries = log.writer.frontier, None, None
        own = read_note(self._note(site, log.noted)) if log.noted > frontier.size else None
        for checkpoint, note in self._ahead(site, key, frontier.size, own):
            if entries is None:
                entries = self._entries(site, frontier.size)
            found = [entry for _, entry in zip(range(checkpoint.size - frontier.size), entries, strict=False)]
            if len(found) < checkpoint.size - frontier.size:
                break  # the others are on their way
            _append(log.writer, found)
            _demand(checkpoint, key, frontier, "the log has changed since" if log.noted >= 0 else "")
            log.late += note is not own
            newest = checkpoint, note
        return newest

    def _ahead(self, site: str, key: VerifierKey, size: int, own: str | None) -> list[tuple[Checkpoint, str]]:
        """The site's checkpoints beyond `size`, and `own`, the one co-signed last where files were lost."""
        notes = self._archive.checkpoints(site, above=size) + ([own] if own else [])
        opened = [(open_checkpoint(note, key), note) for note in notes]
        return sorted(opened, key=lambda each: each[0].size)

    def _entries(self, site: str, first: int) -> Iterator[bytes]:
        """The entries from `first` up to the first that has not arrived."""
        for index, leaf in enumerate(self._archive.leaves(site, first), first):
            if leaf.index != index:
                return
            yield leaf.data

    def notes(self, site: str) -> list[str]:
        """The co-signed notes of a site that are kept, by size."""
        return [read_note(path) for path in self._files(site)]

    def _note(self, site: str, size: int) -> Path:
        return self._folder / site / f"{size}.note"

    def _files(self, site: str) -> list[Path]:
        return sorted((self._folder / site).glob("*.note"), key=lambda path: int(path.stem))

    def _last_size(self, site: str) -> int:
        return max((int(path.stem) for path in self._files(site)), default=-1)

    def _keep(self, site: str, size: int, signed: str) -> None:
        path = self._note(site, size)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".new")
        temporary.write_text(signed)
        temporary.rename(path)
        flush_folder(path.parent)
        for old in self._files(site)[:-NOTES_KEPT]:
            old.unlink()


def _demand(checkpoint: Checkpoint, key: VerifierKey, frontier: Frontier, changed: str) -> None:
    """NoteError when the checkpoint is not of just these entries."""
    root = frontier.root() if frontier.size == checkpoint.size else b""
    problem = checkpoint_problem(checkpoint, key.name, frontier.size, root)
    if problem:
        raise NoteError(f"{changed} it was co-signed: {problem}" if changed else problem)


def _append(writer: TileWriter, entries: list[bytes]) -> None:
    """NoteError for an entry that the format cannot hold."""
    try:
        for entry in entries:
            writer.append(entry)
    except ValueError as error:
        raise NoteError(str(error)) from error


def _roots(store: TileStore, sizes: set[int]) -> dict[int, bytes]:
    """The roots at these sizes, from the files' hashes; none of a size beyond them."""
    frontier = Frontier()
    roots = {0: frontier.root()}
    for hashed in store.leaf_hashes(max(sizes, default=0)):
        frontier.append(hashed)
        if frontier.size in sizes:
            roots[frontier.size] = frontier.root()
    return roots
