"""A site's log, its witness and its verification, against damage of every kind."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.audit.archive import Leaf
from control_plane.audit.verify import verify_site
from control_plane.audit.witness import Witness
from edge_agent.audit import AuditLog
from shared.log_key import LogKey
from shared.schemas import AuditEvent

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SITE = "TX01"
KEY = LogKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
WITNESS_KEY = Ed25519PrivateKey.from_private_bytes(b"w" * 32)


class Memory:
    """An archive in memory."""

    def __init__(self, entries: int = 0, every: int = 4) -> None:
        self.log = AuditLog(SITE, KEY, [])
        self.kept: list[Leaf] = []
        self.notes: list[str] = []
        for number in range(1, entries + 1):
            self.add()
            if number % every == 0:
                self.check()

    def add(self, value: int = 0) -> None:
        entry = self.log.append(
            AuditEvent.ALERT, "s", NOW + timedelta(seconds=self.log.size), detail={"value": value}
        )
        self.kept.append(Leaf(entry.index, entry.leaf()))

    def check(self) -> None:
        self.notes.append(self.log.checkpoint(NOW).note)

    def sites(self) -> list[str]:
        return [SITE]

    def leaves(self, site: str) -> Iterator[Leaf]:
        return iter(self.kept)

    def checkpoints(self, site: str) -> list[str]:
        return list(self.notes)

    def prediction_leaf(self, prediction_id: str) -> bytes | None:
        return None

    def window(self, prediction_id: str) -> bytes | None:
        return None


def witness(archive: Memory, folder) -> Witness:
    return Witness(WITNESS_KEY, folder, archive, lambda site: archive.log.verifier)


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
    assert "has changed since it was co-signed" in centre.findings[SITE]


def test_the_key_is_made_once_and_only_its_owner_may_read_it(tmp_path):
    """The same key after a restart; mode 0600."""
    path = tmp_path / "audit.pem"
    first = LogKey.load_or_create(path).verifier("x")
    assert str(LogKey.load_or_create(path).verifier("x")) == str(first)
    assert path.stat().st_mode & 0o777 == 0o600
