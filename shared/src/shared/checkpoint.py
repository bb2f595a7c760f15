"""C2SP signed notes and tlog checkpoints: a signed statement of how long a log is and what is in it.

Formats: c2sp.org/signed-note and c2sp.org/tlog-checkpoint, Ed25519. A witness here adds a plain note
signature over the same text; C2SP's cosignature/v1 would sign a time with it.
"""

import base64
import binascii
import hashlib
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ED25519 = 1  # signed-note algorithm number
KEY_ID_BYTES = 4
NOTE_CHARS_MAX = 100_000  # a note is a few hundred; more is no note of ours
SIGNATURE_START = "\u2014 "  # em dash, as the format has it


class NoteError(ValueError):
    """A note that is malformed or not signed by the key asked for; the message says which."""


class VerifierKey(NamedTuple):
    """A public key and the name it signs under."""

    name: str
    key_id: bytes
    public: Ed25519PublicKey

    def __str__(self) -> str:
        material = bytes([ED25519]) + _raw(self.public)
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(material).decode()}"


class Checkpoint(NamedTuple):
    """What a log's key says: the log's origin, its size and its root hash."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The signed text."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def verifier_key(name: str, public: Ed25519PublicKey) -> VerifierKey:
    """The verifier key of `name`; ValueError for a name that the format does not allow."""
    if not name or "+" in name or any(c.isspace() for c in name):
        raise ValueError(f"found key name {name!r}; neither spaces nor '+' may stand in it")
    digest = hashlib.sha256(f"{name}\n".encode() + bytes([ED25519]) + _raw(public)).digest()
    return VerifierKey(name, digest[:KEY_ID_BYTES], public)


def parse_verifier_key(text: str) -> VerifierKey:
    """The key of `name+hash+base64`; NoteError when the parts do not belong together."""
    try:
        name, key_id, material = text.strip().split("+", 2)
        raw = base64.b64decode(material, validate=True)
        key = verifier_key(name, Ed25519PublicKey.from_public_bytes(raw[1:]))
    except (ValueError, binascii.Error) as error:
        raise NoteError(f"not a verifier key: {text[:80]!r}: {error}") from error
    if raw[:1] != bytes([ED25519]) or key.key_id.hex() != key_id:
        raise NoteError(f"verifier key {name}: its hash is not that of its name and Ed25519 key")
    return key


def sign_note(text: str, name: str, key: Ed25519PrivateKey) -> str:
    """The note: `text` (ends with a newline), an empty line, one signature line."""
    return f"{text}\n{_signature_line(text, name, key)}"


def cosign(note: str, name: str, key: Ed25519PrivateKey) -> str:
    """The same note with one more signature line."""
    text, _ = _split(note)
    return note + _signature_line(text, name, key)


def open_note(note: str, key: VerifierKey) -> str:
    """The text of a note that `key` signed; NoteError when it did not."""
    text, signatures = _split(note)
    for name, blob in signatures:
        if name == key.name and blob[:KEY_ID_BYTES] == key.key_id:
            try:
                key.public.verify(blob[KEY_ID_BYTES:], text.encode())
            except InvalidSignature:
                raise NoteError(f"the signature of {name} does not fit the text") from None
            return text
    raise NoteError(f"not signed by {key.name}+{key.key_id.hex()}")


def signers(note: str) -> list[tuple[str, bytes]]:
    """The name and the key id on each signature line, in order, none of them checked; NoteError when it
    is no note."""
    return [(name, blob[:KEY_ID_BYTES]) for name, blob in _split(note)[1]]


def open_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """The checkpoint in a note that `key` signed; NoteError when it is none."""
    return _parse(open_note(note, key))


def read_checkpoint(note: str) -> Checkpoint:
    """What a note says, with no signature checked: enough to know where to look, never to believe it."""
    return _parse(_split(note)[0])


def _parse(text: str) -> Checkpoint:
    lines = text.split("\n")
    try:
        origin, size, root = lines[0], lines[1], base64.b64decode(lines[2], validate=True)
    except (IndexError, ValueError) as error:
        raise NoteError("a checkpoint has an origin, a size and a root hash, a line each") from error
    if not size.isascii() or not size.isdigit() or (size != "0" and size.startswith("0")) or len(root) != 32:
        raise NoteError(f"a checkpoint's size is a decimal number and its root 32 bytes; found {size!r}")
    return Checkpoint(origin, int(size), root)


def _signature_line(text: str, name: str, key: Ed25519PrivateKey) -> str:
    blob = verifier_key(name, key.public_key()).key_id + key.sign(text.encode())
    return f"{SIGNATURE_START}{name} {base64.b64encode(blob).decode()}\n"


def _split(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """`(text, [(name, key id and signature)])`; NoteError when it is no note."""
    head, blank, tail = note.rpartition("\n\n")
    if not blank or not tail.endswith("\n") or len(note) > NOTE_CHARS_MAX:
        raise NoteError("not a note: no empty line before its signatures")
    signatures = []
    for line in tail[:-1].split("\n"):
        parts = line.removeprefix(SIGNATURE_START).split(" ")
        if not line.startswith(SIGNATURE_START) or len(parts) != 2:
            raise NoteError(f"not a signature line: {line[:80]!r}")
        try:
            blob = base64.b64decode(parts[1], validate=True)
        except ValueError as error:  # not base64, or not even ASCII
            raise NoteError(f"signature of {parts[0]}: not base64") from error
        if base64.b64encode(blob).decode() != parts[1]:  # its last digit has bits that decode to nothing
            raise NoteError(f"signature of {parts[0]}: not written as base64 writes it")
        signatures.append((parts[0], blob))
    return head + "\n", signatures


def _raw(public: Ed25519PublicKey) -> bytes:
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)
