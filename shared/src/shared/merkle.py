"""RFC 6962 section 2.1: hashing and proofs of an append-only log. Pure.

SHA-256 throughout. Leaves are hashed with the prefix 0x00, inner nodes with 0x01, so that one can
never pass for the other.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Self

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """The hash of one leaf's data (RFC 6962: SHA-256(0x00 || data))."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (RFC 6962: SHA-256(0x01 || left || right))."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the perfect subtrees of a log, largest first: all that appending needs."""

    def __init__(self, leaf_hashes: Iterable[bytes] = ()) -> None:
        self.size = 0
        self._peaks: list[bytes] = []
        for hashed in leaf_hashes:
            self.append(hashed)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` made; ValueError when it is not that."""
        size, peaks = int.from_bytes(data[:8], "big"), data[8:]
        if len(data) != 8 + 32 * size.bit_count():
            raise ValueError(f"found {len(data)} bytes; a log of {size} leaves has {size.bit_count()} peaks")
        frontier = cls()
        frontier.size = size
        frontier._peaks = [peaks[i : i + 32] for i in range(0, len(peaks), 32)]
        return frontier

    @classmethod
    def from_peaks(cls, size: int, peaks: Sequence[bytes]) -> Self:
        """The log of `size` leaves with these perfect subtrees, largest first."""
        return cls.from_bytes(b"".join([size.to_bytes(8, "big"), *peaks]))

    @property
    def peaks(self) -> list[bytes]:
        """The roots of the perfect subtrees, largest first."""
        return list(self._peaks)

    def to_bytes(self) -> bytes:
        """The size (8 bytes, big-endian) and the peaks (32 bytes each), largest first."""
        return b"".join([self.size.to_bytes(8, "big"), *self._peaks])

    def copy(self) -> Self:
        """Another that goes on from here."""
        twin = type(self)()
        twin.size, twin._peaks = self.size, list(self._peaks)
        return twin

    def append(self, hashed: bytes) -> None:
        """Add one leaf hash; O(log size) at worst, O(1) on average."""
        size = self.size
        while size & 1:
            hashed = node_hash(self._peaks.pop(), hashed)
            size >>= 1
        self._peaks.append(hashed)
        self.size += 1

    def root(self) -> bytes:
        """The root hash of the log as it is now."""
        if not self._peaks:
            return EMPTY_ROOT
        *rest, root = self._peaks
        for peak in reversed(rest):
            root = node_hash(peak, root)
        return root


def root_hash(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root of a whole log (RFC 6962 section 2.1)."""
    return Frontier(leaf_hashes).root()


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of one leaf (RFC 6962 section 2.1.1); IndexError when there is no such leaf."""
    return [root_hash(leaf_hashes[a:b]) for a, b in audit_path(index, len(leaf_hashes))]


def audit_path(index: int, size: int) -> list[tuple[int, int]]:
    """The leaves `[first, end)` under each node of an audit path, from the leaf's sibling up; IndexError
    when there is no such leaf. Where
    `end` is the log's own, they may be no whole power of two."""
    if not 0 <= index < size:
        raise IndexError(f"found leaf {index}; the log has {size}")
    first, end, path = 0, size, []
    while end - first > 1:
        split = first + _largest_power_below(end - first)
        if index < split:
            path.append((split, end))
            end = split
        else:
            path.append((first, split))
            first = split
    return path[::-1]


def root_from_inclusion(hashed: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that an audit path leads to; ValueError when its length does not fit (RFC 9162, 2.1.3.2)."""
    inner, node, last = hashed, index, size - 1
    for sibling in proof:
        if last == 0:
            raise ValueError("the proof is longer than the log is deep")
        if node & 1 or node == last:
            inner = node_hash(sibling, inner)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            inner = node_hash(inner, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ValueError("the proof is shorter than the log is deep")
    return inner


def _largest_power_below(size: int) -> int:
    return 1 << (size - 1).bit_length() - 1
