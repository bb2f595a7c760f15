"""A committed record: its number, its owner, its checksum."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from zlib import crc32

from shared.schemas import Outgoing

_CACHED_NAMES = 4_096  # pairs of schema and key: about 5 schemas of 800 components


class Row(NamedTuple):
    """A committed record and its place in the file.

    `seq` is for `pending` and `acknowledge`. What identifies the record for ever is (`store_id`,
    `number`): the same as `seq` but for a file that was begun after an earlier one was damaged.
    """

    seq: int
    record: Outgoing
    store_id: str
    number: int


def checksum(seq: int, record: Sequence[Any]) -> int:
    """CRC-32 of a row: SQLite's pages have none, so a flipped bit in a body would pass for a reading."""
    schema, key, time_ms, body = record
    return crc32(body, crc32(b"%d %d" % (seq, time_ms), _names(schema, key)))


def is_intact(seq: int, record: Sequence[Any], crc: int | None) -> bool:
    """Whether a row is what was committed; one of before there were checksums passes."""
    try:
        return crc is None or crc == checksum(seq, record)
    except (TypeError, ValueError):  # not even the types are right
        return False


def broken(found: Sequence[tuple[Any, ...]]) -> list[int]:
    """Which of the rows `(seq, schema, key, time_ms, body, crc)` are not intact; `is_intact` for many."""
    wrong = []
    for seq, schema, key, time_ms, body, crc in found:
        try:
            known = crc32(b"%d %d" % (seq, time_ms), _names(schema, key))
            if crc is not None and crc32(body, known) != crc:
                wrong.append(seq)
        except (TypeError, ValueError):
            wrong.append(seq)
    return wrong


@lru_cache(_CACHED_NAMES)
def _names(schema: str, key: str) -> int:
    return crc32(f"{schema} {key}".encode())


class Stores:
    """Which store a row belongs to: rows above a base belong to its store, up to the next base."""

    def __init__(self, begun: Sequence[tuple[int, str]]) -> None:
        self._begun = sorted(begun)
        self._bases = [base for base, _ in self._begun]

    @property
    def newest(self) -> tuple[int, str]:
        """The base and the id of the store that rows are added to."""
        return self._begun[-1]

    def has(self, base: int, store_id: str) -> bool:
        """Whether a store of this id was begun there."""
        return (base, store_id) in self._begun

    def rows(self, found: Sequence[tuple[Any, ...]]) -> list[Row]:
        """Rows `(seq, schema, key, time_ms, body, crc)`, ascending, in their stores."""
        if not found:
            return []
        (base, store_id), last = self._at(found[0][0]), self._at(found[-1][0])
        if (base, store_id) == last:
            return [
                Row(seq, Outgoing(schema, key, time_ms, body), store_id, seq - base)
                for seq, schema, key, time_ms, body, _ in found
            ]
        return [Row(seq, Outgoing(*record), *self.place(seq)) for seq, *record, _ in found]

    def place(self, seq: int) -> tuple[str, int]:
        """`(store_id, number)` of a row."""
        base, store_id = self._at(seq)
        return store_id, seq - base

    def _at(self, seq: int) -> tuple[int, str]:
        return self._begun[bisect_left(self._bases, seq) - 1]

    def split(self, first: int, last: int) -> Iterator[tuple[str, int, int]]:
        """`(store_id, first, last)` of the rows `first` to `last`, a part for each store."""
        for index, (base, store_id) in enumerate(self._begun):
            end = self._bases[index + 1] if index + 1 < len(self._bases) else last
            low, high = max(first, base + 1), min(last, end)
            if low <= high:
                yield store_id, low - base, high - base
