"""RFC 6962 hashing: known answers, and proofs that fail on any change."""

from itertools import pairwise

import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.merkle import Frontier, inclusion_proof, leaf_hash, root_from_inclusion, root_hash

# The published vectors of certificate-transparency's own Merkle tree tests: eight leaves and the
# roots of the first 0, 1, ... 8 of them.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_roots_are_the_published_ones():
    """The roots of the first n published leaves, from the frontier and from the whole, for every n."""
    frontier = Frontier()
    assert frontier.root().hex() == ROOTS[0]
    for size, data in enumerate(LEAVES, start=1):
        frontier.append(leaf_hash(data))
        assert frontier.root().hex() == ROOTS[size]
        assert root_hash([leaf_hash(x) for x in LEAVES[:size]]).hex() == ROOTS[size]


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=40), st.data())
def test_a_proof_leads_to_the_root_and_no_other_leaf_does(leaves, data):
    """Every leaf's proof leads to the root; the same proof with other bytes or another place does not."""
    hashes = [leaf_hash(x) for x in leaves]
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = inclusion_proof(hashes, index)
    root = root_hash(hashes)
    assert root_from_inclusion(hashes[index], index, len(hashes), proof) == root
    assert root_from_inclusion(leaf_hash(leaves[index] + b"x"), index, len(hashes), proof) != root


def test_a_proof_of_the_wrong_length_is_refused():
    """A proof that is too long or too short raises, and never passes."""
    hashes = [leaf_hash(bytes([i])) for i in range(7)]
    proof = inclusion_proof(hashes, 3)
    for wrong in (proof[:-1], [*proof, proof[0]]):
        with pytest.raises(ValueError, match="the proof is"):
            root_from_inclusion(hashes[3], 3, 7, wrong)
    with pytest.raises(IndexError, match="found leaf 7; the log has 7"):
        inclusion_proof(hashes, 7)


@given(st.lists(st.binary(max_size=4), min_size=2, max_size=30, unique=True))
def test_every_append_changes_the_root(leaves):
    """No two sizes of one log share a root."""
    frontier = Frontier()
    roots = []
    for data in leaves:
        frontier.append(leaf_hash(data))
        roots.append(frontier.root())
    assert all(a != b for a, b in pairwise(roots))
    assert len(set(roots)) == len(roots)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=8), min_size=1, max_size=70))
def test_roots_and_proofs_are_those_of_another_implementation(leaves):
    """pymerkle's tree over the same entries has our root at every size and our audit path to every leaf."""
    theirs = pymerkle.InmemoryTree(algorithm="sha256")
    frontier = Frontier()
    for data in leaves:
        theirs.append(data)
        frontier.append(leaf_hash(data))
        assert theirs.get_state() == frontier.root()
    hashes = [leaf_hash(data) for data in leaves]
    for index in (0, len(leaves) // 2, len(leaves) - 1):
        path = [bytes.fromhex(each) for each in theirs.prove_inclusion(index + 1).serialize()["path"]]
        assert path[1:] == inclusion_proof(hashes, index)


def test_a_frontier_goes_on_from_its_peaks():
    """Size and peaks are all that is needed; a wrong number of peaks is refused."""
    frontier = Frontier(leaf_hash(bytes([i])) for i in range(11))
    again = Frontier.from_peaks(frontier.size, frontier.peaks)
    assert again.root() == frontier.root()
    with pytest.raises(ValueError, match="a log of 11 leaves has 3 peaks"):
        Frontier.from_peaks(11, frontier.peaks[1:])
