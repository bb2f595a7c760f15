"""C2SP tlog-proofs: as the format has them, and nothing that was changed passes."""

import base64
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.audit.tlog_proof import Proof, check_proof, parse_proof
from shared.checkpoint import Checkpoint, NoteError, cosign, sign_note
from shared.log_key import LogKey
from shared.merkle import inclusion_proof, leaf_hash, root_hash
from tests.support.audited_log import KEY, WITNESS_KEY

ORIGIN = "pm-stack-smr/TX01"
LEAVES = [b"leaf %d" % number for number in range(11)]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]
NOTE = cosign(
    sign_note(Checkpoint(ORIGIN, len(LEAVES), root_hash(HASHES)).text, ORIGIN, KEY.private),
    "pm-stack-smr/witness",
    WITNESS_KEY,
)
SITE_KEY = KEY.verifier(ORIGIN)
WITNESS = LogKey(WITNESS_KEY).verifier("pm-stack-smr/witness")


def proof(index: int) -> Proof:
    return Proof(LEAVES[index], index, inclusion_proof(HASHES, index), NOTE)


TEXT = proof(6).text


def test_a_proof_is_written_as_the_format_says():
    """A header, the extra data, the index, a hash a line, an empty line, the checkpoint verbatim."""
    lines = TEXT.split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra " + base64.b64encode(b"leaf 6").decode(), "index 6"]
    assert [base64.b64decode(line) for line in lines[3:7]] == inclusion_proof(HASHES, 6)
    assert TEXT.endswith("\n\n" + NOTE)


@pytest.mark.parametrize("index", range(len(LEAVES)))
def test_every_entry_has_a_proof_that_holds(index):
    """Written, read and checked, for each entry of a log whose size is no power of two."""
    found = parse_proof(proof(index).text)
    assert check_proof(found, SITE_KEY, WITNESS).size == len(LEAVES)
    assert found.entry == LEAVES[index]


@settings(max_examples=400)
@given(st.integers(0, len(TEXT) - 1), st.sampled_from(string.printable))
def test_one_changed_character_is_never_accepted(position, character):
    """Whatever one character becomes, the proof is refused: it proves this entry in this place or nothing."""
    changed = TEXT[:position] + character + TEXT[position + 1 :]
    if changed != TEXT:
        with pytest.raises(NoteError):
            check_proof(parse_proof(changed), SITE_KEY, WITNESS)


@pytest.mark.parametrize(
    "text",
    [
        "", "c2sp.org/tlog-proof@v1\n\n", "x" * 300_000, TEXT.replace("extra", "more"),
        TEXT.replace("index 6", "index 06"), TEXT.replace("index 6", "index 11"),
        TEXT.replace("index 6\n", ""), TEXT.replace("\n\n", "\n", 1),
        TEXT.replace("index 6\n", "index 6\nAAAA\n"), TEXT.replace("index 6\n", f"index 6\n{'A' * 43}=\n"),
    ],
)  # fmt: skip
def test_what_is_no_proof_is_refused(text):
    """Malformed proofs raise NoteError, nothing else."""
    with pytest.raises(NoteError):
        check_proof(parse_proof(text), SITE_KEY, WITNESS)


def test_a_proof_under_another_log_or_without_the_witness_is_refused():
    """The key's own name must be the log's, and the witness must have signed where its key is given."""
    other = KEY.verifier("pm-stack-smr/other")
    note = sign_note(NOTE.split("\n\n")[0] + "\n", "pm-stack-smr/other", KEY.private)
    with pytest.raises(NoteError, match="is of pm-stack-smr/TX01, not pm-stack-smr/other"):
        check_proof(Proof(LEAVES[0], 0, inclusion_proof(HASHES, 0), note), other, None)
    alone = sign_note(NOTE.split("\n\n")[0] + "\n", ORIGIN, KEY.private)
    with pytest.raises(NoteError, match="not signed by pm-stack-smr/witness"):
        check_proof(Proof(LEAVES[0], 0, inclusion_proof(HASHES, 0), alone), SITE_KEY, WITNESS)
