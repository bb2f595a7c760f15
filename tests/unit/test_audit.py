"""A site's log, its witness and its verification, against damage of every kind."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

import control_plane.audit.witness as audit_witness
from control_plane.audit.archive import Leaf
from control_plane.audit.tiles import read_alone
from control_plane.audit.verify import verify_site
from edge_agent.audit import AuditLog
from shared.checkpoint import read_checkpoint
from shared.errors import Retryable
from shared.log_key import LogKey
from shared.schemas import AuditEvent
from tests.support.audited_log import KEY, NOW, SITE, Memory, check_files, witness


def test_a_whole_log_verifies_and_says_what_is_not_covered_yet():
    """Ten entries, checkpoints at four and eight: verified, two entries newer than the last checkpoint."""
    archive = Memory(10)
    found = verify_site(archive, SITE, archive.log.verifier)
    assert found.verified
    assert (found.entries, found.checkpoints, found.covered, found.uncovered) == (10, 2, 8, 2)


def test_a_log_goes_on_after_a_restart():
    """A log rebuilt from its leaves continues with the next index and the same tree."""
    archive = Memory(5)
    archive.log = AuditLog(SITE, KEY, [leaf.data for leaf in archive.kept])
    archive.add()
    archive.check()
    found = verify_site(archive, SITE, archive.log.verifier)
    assert (found.verified, found.entries, found.covered) == (True, 6, 6)


def damage(archive: Memory, kind: str, at: int) -> None:
    leaves, notes = archive.kept, archive.notes
    leaf = leaves[at % len(leaves)]
    match kind:
        case "flip a byte":
            data = bytearray(leaf.data)
            data[at % len(data)] ^= 1
            leaves[leaf.index] = Leaf(leaf.index, bytes(data))
        case "drop":
            del leaves[leaf.index]
        case "insert":
            leaves.insert(leaf.index, Leaf(leaf.index, leaf.data))
        case "swap contents":
            other = leaves[(leaf.index + 1) % len(leaves)]
            leaves[leaf.index] = Leaf(leaf.index, other.data)
            leaves[other.index] = Leaf(other.index, leaf.data)
        case "truncate":
            del leaves[at % archive.log.size :]
        case "flip the note":
            note = notes[at % len(notes)]
            place = at % note.index("\n\n")
            notes[at % len(notes)] = note[:place] + chr(ord(note[place]) ^ 1) + note[place + 1 :]
        case "another key":
            forged = AuditLog(SITE, LogKey(Ed25519PrivateKey.generate()), [x.data for x in leaves])
            notes[at % len(notes)] = forged.checkpoint(NOW).note
        case "another history":
            other_log = AuditLog(SITE, KEY, [])
            for _ in range(archive.log.size):
                other_log.append(AuditEvent.ALERT, "other", NOW)
            notes[at % len(notes)] = other_log.checkpoint(NOW).note


DAMAGE = ["flip a byte", "drop", "insert", "swap contents", "truncate", "flip the note"]
DAMAGE += ["another key", "another history"]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(DAMAGE), st.integers(0, 10_000), st.integers(2, 5))
def test_no_damage_goes_unnoticed(kind, at, every):
    """Whatever is flipped, dropped, inserted, swapped, cut or forged, verification names it."""
    archive = Memory(every * 3, every)
    damage(archive, kind, at)
    found = verify_site(archive, SITE, archive.log.verifier)
    assert not found.verified
    assert found.problems


def test_the_witness_co_signs_once_and_the_co_signature_holds(tmp_path):
    """The newest checkpoint whose entries are here is co-signed, once; verification counts it."""
    archive = Memory(8)
    centre = witness(archive, tmp_path)
    signed = centre.look(SITE)
    assert signed is not None
    assert signed.size == 8
    assert centre.look(SITE) is None
    found = verify_site(archive, SITE, archive.log.verifier, centre.notes(SITE), centre.verifier)
    assert (found.verified, found.witnessed) == (True, 1)


def test_the_witness_waits_for_entries_that_are_on_their_way(tmp_path):
    """A checkpoint ahead of its entries is no finding; it is co-signed when they have come."""
    archive = Memory(8)
    late = archive.kept[5:]
    del archive.kept[5:]
    centre = witness(archive, tmp_path)
    first = centre.look(SITE)
    assert first is not None
    assert first.size == 4
    archive.kept += late
    second = centre.look(SITE)
    assert second is not None
    assert second.size == 8
    assert not centre.findings


@pytest.mark.parametrize("kind", ["flip a byte", "another history", "another key"])
def test_the_witness_never_co_signs_a_contradiction(tmp_path, kind):
    """A log that contradicts itself is a finding, and nothing of it is co-signed any more."""
    archive = Memory(8)
    damage(archive, kind, 1)
    centre = witness(archive, tmp_path)
    assert centre.look(SITE) is None
    assert SITE in centre.findings


def test_a_log_rewritten_after_it_was_co_signed_is_found(tmp_path):
    """A site that starts its history anew, validly signed, contradicts what was co-signed before."""
    archive = Memory(8)
    witness(archive, tmp_path).look(SITE)
    rewritten = Memory(0)
    for _ in range(12):
        rewritten.add(value=1)
    rewritten.check()
    centre = witness(rewritten, tmp_path)
    assert centre.look(SITE) is None
    assert "the log has changed since it was co-signed" in centre.findings[SITE]


def test_a_later_log_is_hashed_from_where_it_was_left(tmp_path):
    """The witness asks for what is new alone, and a new one goes on from the files of the one before."""
    archive = Memory(600, every=100)
    first = witness(archive, tmp_path)
    assert first.look(SITE) is not None
    archive.kept = archive.kept[600:]  # whoever asks for an old entry finds nothing
    for again in (first, witness(archive, tmp_path)):
        archive.add()
        archive.check()
        signed = again.look(SITE)
        assert signed is not None
        assert signed.size == archive.log.size
    assert not first.findings
    found = check_files(tmp_path / "audit" / SITE)
    assert (found.verified, found.covered, found.problems) == (True, 602, [])


def test_a_second_history_of_what_is_co_signed_is_found_when_it_comes_late(tmp_path):
    """A validly signed checkpoint of another past is a finding though nothing new was to be co-signed."""
    archive = Memory(300, every=100)
    centre = witness(archive, tmp_path)
    centre.look(SITE)
    other = AuditLog(SITE, KEY, [])
    for _ in range(200):
        other.append(AuditEvent.ALERT, "other", NOW)
    archive.notes.insert(2, other.checkpoint(NOW).note)
    archive.sizes.insert(2, 200)
    assert centre.look(SITE) is None
    assert centre.findings[SITE] == "checkpoint at 200: its root is not that of the entries"


def test_files_that_changed_are_not_gone_on_from(tmp_path):
    """A witness whose own tiles do not have the co-signed root any more signs nothing on top of them."""
    archive = Memory(300, every=100)
    witness(archive, tmp_path).look(SITE)
    tile = tmp_path / "audit" / SITE / "tile" / "0" / "001.p" / "44"
    tile.write_bytes(bytes(44 * 32))
    archive.add()
    archive.check()
    centre = witness(archive, tmp_path)
    assert centre.look(SITE) is None
    assert centre.findings[SITE].startswith("the files have changed since it was co-signed")


def test_the_newest_co_signed_notes_are_kept_and_no_more(tmp_path, monkeypatch):
    """Each says all that those before it say; of what would be a file every five seconds, some are enough."""
    monkeypatch.setattr(audit_witness, "NOTES_KEPT", 2)
    archive = Memory(4)
    centre = witness(archive, tmp_path)
    for _ in range(4):
        archive.add()
        archive.check()
        centre.look(SITE)
    assert [read_checkpoint(note).size for note in centre.notes(SITE)] == [7, 8]


def test_lost_files_are_made_again_up_to_what_was_co_signed(tmp_path):
    """Without its tiles a witness takes the log from the archive, holds it against its newest note, and
    signs nothing that falls short of it."""
    archive = Memory(12)
    witness(archive, tmp_path).look(SITE)
    (tmp_path / "audit").rename(tmp_path / "gone")
    late = archive.kept[10:]
    del archive.kept[10:]
    centre = witness(archive, tmp_path)
    assert centre.look(SITE) is None
    assert not centre.findings
    archive.kept += late
    assert centre.look(SITE) is None
    found = check_files(tmp_path / "audit" / SITE)
    assert (found.verified, found.covered, centre.findings) == (True, 12, {})


def test_a_look_waits_for_whoever_reads_the_files(tmp_path):
    """While the files are verified as a whole, nothing is written; the next look catches up."""
    archive = Memory(8)
    centre = witness(archive, tmp_path)
    centre.look(SITE)
    archive.add()
    archive.check()
    with read_alone(tmp_path / "audit" / SITE), pytest.raises(Retryable, match="reads this log"):
        centre.look(SITE)
    signed = centre.look(SITE)
    assert signed is not None
    assert signed.size == 9


def test_the_key_is_made_once_and_only_its_owner_may_read_it(tmp_path):
    """The same key after a restart; mode 0600."""
    path = tmp_path / "audit.pem"
    first = LogKey.load_or_create(path).verifier("x")
    assert str(LogKey.load_or_create(path).verifier("x")) == str(first)
    assert path.stat().st_mode & 0o777 == 0o600
