"""A C2SP tlog-proof: where an entry stands in a log, its audit path, and the checkpoint over it. Pure.

Whoever has the public keys can check one with no access to the log. Ours carry the entry itself as the
format's `extra`; it counts for nothing until its hash leads to the signed root.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from shared.checkpoint import Checkpoint, NoteError, VerifierKey, open_checkpoint
from shared.merkle import leaf_hash, root_from_inclusion

HEADER = "c2sp.org/tlog-proof@v1"
PROOF_CHARS_MAX = 200_000  # an entry of 65,535 bytes in base64, 64 hashes and a note


@dataclass(frozen=True)
class Proof:
    """An entry, its index, the hashes from its sibling up to the root's child, and the note."""

    entry: bytes
    index: int
    path: Sequence[bytes]
    note: str

    @property
    def text(self) -> str:
        """As the format writes it."""
        lines = [HEADER, f"extra {_base64(self.entry)}", f"index {self.index}", *map(_base64, self.path)]
        return "\n".join([*lines, "", self.note])


def parse_proof(text: str) -> Proof:
    """The proof in `text`; NoteError when it is none, or has no entry with it."""
    head, blank, note = text.partition("\n\n")
    lines = head.split("\n")
    if not blank or len(text) > PROOF_CHARS_MAX or lines[0] != HEADER or len(lines) < 3:
        raise NoteError(f"not a proof: it begins with {HEADER}, an entry and an index")
    extra, index = lines[1].removeprefix("extra "), lines[2].removeprefix("index ")
    if extra == lines[1] or index == lines[2]:
        raise NoteError("a proof of ours has a line `extra` with the entry, and then a line `index`")
    if not (index.isascii() and index.isdigit()) or (index != "0" and index.startswith("0")):
        raise NoteError(f"a proof's index is a decimal number; found {index[:40]!r}")
    path = [_bytes(line) for line in lines[3:]]
    if any(len(hashed) != 32 for hashed in path):
        raise NoteError("a proof's hashes have 32 bytes each")
    return Proof(_bytes(extra), int(index), path, note)


def check_proof(proof: Proof, key: VerifierKey, witness_key: VerifierKey | None) -> Checkpoint:
    """The checkpoint that the entry stands under; NoteError names what does not hold."""
    checkpoint = open_checkpoint(proof.note, key)
    if witness_key is not None:
        open_checkpoint(proof.note, witness_key)
    if checkpoint.origin != key.name:
        raise NoteError(f"the checkpoint is of {checkpoint.origin}, not {key.name}")
    if proof.index >= checkpoint.size:
        raise NoteError(f"there is no entry {proof.index} in a log of {checkpoint.size}")
    try:
        root = root_from_inclusion(leaf_hash(proof.entry), proof.index, checkpoint.size, proof.path)
    except ValueError as error:
        raise NoteError(f"the hashes do not fit: {error}") from error
    if root != checkpoint.root:
        raise NoteError(f"the entry is not number {proof.index} under the signed root")
    return checkpoint


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    """NoteError when it is not base64 just as base64 writes it."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise NoteError(f"not base64: {text[:60]!r}") from error
    if _base64(data) != text:
        raise NoteError(f"not written as base64 writes it: {text[:60]!r}")
    return data
