"""The centre as a witness: it co-signs what it has checked against what it already co-signed."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from control_plane.audit.archive import AuditArchive
from control_plane.audit.verify import checkpoint_problem
from shared.checkpoint import NoteError, VerifierKey, cosign, open_checkpoint, verifier_key
from shared.merkle import Frontier, leaf_hash

WITNESS_NAME = "pm-stack-smr/witness"


class Witnessed(NamedTuple):
    """A co-signed checkpoint of a site, to send back to it."""

    site: str
    size: int
    note: str


class Witness:
    """Keeps co-signed notes as `<folder>/<site>/<size>.note`; what contradicts them is never signed."""

    def __init__(
        self,
        key: Ed25519PrivateKey,
        folder: Path,
        archive: AuditArchive,
        key_of: Callable[[str], VerifierKey | None],
    ) -> None:
        self._key, self._folder, self._archive, self._key_of = key, folder, archive, key_of
        self.findings: dict[str, str] = {}

    @property
    def verifier(self) -> VerifierKey:
        """The key that a co-signature is checked with."""
        return verifier_key(WITNESS_NAME, self._key.public_key())

    def look(self, site: str) -> Witnessed | None:
        """Check the site's newest checkpoint whose entries are here; co-sign it when it is newer and holds.

        A contradiction is put in `findings`; nothing of the site is co-signed before a person has looked.
        """
        key = self._key_of(site)
        if key is None or site in self.findings:
            return None
        roots = self._roots(site)
        try:
            newest = self._newest(site, key, roots)
        except NoteError as error:
            self.findings[site] = str(error)
            return None
        if newest is None or newest[0] <= self._last_size(site):
            return None
        return self._sign(site, *newest)

    def _newest(self, site: str, key: VerifierKey, roots: list[bytes]) -> tuple[int, str] | None:
        """`(size, note)` of the newest checkpoint whose entries are here; NoteError names a contradiction."""
        newest = None
        for note in self._archive.checkpoints(site):
            checkpoint = open_checkpoint(note, key)
            if checkpoint.size >= len(roots):
                continue  # its entries are on their way
            problem = checkpoint_problem(checkpoint, key.name, roots)
            if problem:
                raise NoteError(problem)
            newest = max(newest or (0, ""), (checkpoint.size, note))
        for note in self.notes(site)[-1:]:
            problem = checkpoint_problem(open_checkpoint(note, key), key.name, roots)
            if problem:
                raise NoteError(f"the log has changed since it was co-signed: {problem}")
        return newest

    def notes(self, site: str) -> list[str]:
        """The co-signed notes of a site, by size."""
        files = sorted((self._folder / site).glob("*.note"), key=lambda path: int(path.stem))
        return [path.read_text() for path in files]

    def _roots(self, site: str) -> list[bytes]:
        """The root at every size up to the first entry that has not arrived."""
        frontier = Frontier()
        roots = [frontier.root()]
        for leaf in self._archive.leaves(site):
            if leaf.index != frontier.size:
                break
            frontier.append(leaf_hash(leaf.data))
            roots.append(frontier.root())
        return roots

    def _last_size(self, site: str) -> int:
        return max((int(path.stem) for path in (self._folder / site).glob("*.note")), default=-1)

    def _sign(self, site: str, size: int, note: str) -> Witnessed:
        signed = cosign(note, WITNESS_NAME, self._key)
        path = self._folder / site / f"{size}.note"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".new")
        temporary.write_text(signed)
        temporary.rename(path)
        return Witnessed(site, size, signed)
