"""Signed notes: the published example opens, and nothing that was changed does."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.checkpoint import (
    Checkpoint,
    NoteError,
    cosign,
    open_checkpoint,
    open_note,
    parse_verifier_key,
    sign_note,
    verifier_key,
)

# The published example of golang.org/x/mod/sumdb/note.
PUBLISHED_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PUBLISHED_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNI"
    "uGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NAME = "pm-stack-smr/TX01"
VERIFIER = verifier_key(NAME, KEY.public_key())
CHECKPOINT = Checkpoint(NAME, 7, bytes(range(32)))
NOTE = sign_note(CHECKPOINT.text, NAME, KEY)


def test_the_published_note_opens_with_the_published_key():
    """Another implementation's note is read and its signature holds; the key's text form is the same."""
    key = parse_verifier_key(PUBLISHED_KEY)
    assert str(key) == PUBLISHED_KEY
    assert open_note(PUBLISHED_NOTE, key).endswith("what your problem is.\n")


def test_a_checkpoint_comes_back_as_it_was_signed():
    """Origin, size and root survive; a witness's line is added and both signatures hold."""
    witness = Ed25519PrivateKey.from_private_bytes(bytes(32))
    both = cosign(NOTE, "witness", witness)
    assert open_checkpoint(both, VERIFIER) == CHECKPOINT
    assert open_checkpoint(both, verifier_key("witness", witness.public_key())) == CHECKPOINT
    with pytest.raises(NoteError, match="not signed by witness"):
        open_checkpoint(NOTE, verifier_key("witness", witness.public_key()))


@settings(max_examples=300)
@given(st.integers(0, len(NOTE) - 1), st.characters(codec="ascii"))
def test_one_changed_character_is_never_accepted_as_something_else(position, character):
    """Whatever one character becomes, the note is refused or says exactly what was signed."""
    changed = NOTE[:position] + character + NOTE[position + 1 :]
    try:
        assert open_checkpoint(changed, VERIFIER) == CHECKPOINT
        assert changed == NOTE or base64.b64decode(changed.split()[-1])[:4] == VERIFIER.key_id
    except NoteError:
        assert changed != NOTE


@pytest.mark.parametrize(
    "text",
    ["", "no signature\n", NOTE.replace("\n\n", "\n"), NOTE[:-1], NOTE + "garbage\n", "x" * 200_000],
)
def test_what_is_no_note_is_refused(text):
    """Malformed notes raise NoteError, nothing else."""
    with pytest.raises(NoteError):
        open_checkpoint(text, VERIFIER)


@pytest.mark.parametrize("size", ["-1", "07", "1e3", "", "٣"])
def test_a_size_that_is_no_plain_number_is_refused(size):
    """Only the one decimal form of a size is accepted, even when it is signed."""
    root = base64.b64encode(bytes(32)).decode()
    with pytest.raises(NoteError, match="size"):
        open_checkpoint(sign_note(f"{NAME}\n{size}\n{root}\n", NAME, KEY), VERIFIER)


def test_a_verifier_key_with_another_hash_is_refused():
    """A key text whose hash does not belong to its key is a mistake or a trick."""
    with pytest.raises(NoteError, match="its hash is not that"):
        parse_verifier_key(str(VERIFIER).replace(VERIFIER.key_id.hex(), "00000000"))
    with pytest.raises(ValueError, match="neither spaces"):
        verifier_key("a b", KEY.public_key())
