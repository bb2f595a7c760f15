"""Sets of row numbers, a bit each: a hundred million rows take some 13 MB, in whatever order they come."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

CHUNK_ROWS = 8_192  # rows in a piece of the set: 1 KiB, also for a row that stands alone

Span = tuple[int, int]


class RowNumbers:
    """A set of row numbers; `added` counts those given, repeats among them."""

    def __init__(self) -> None:
        self._chunks: dict[int, NDArray[np.uint8]] = {}
        self.added = 0

    def add(self, numbers: NDArray[np.int64]) -> None:
        """Put them in; none is below 0."""
        if not len(numbers):
            return
        self.added += len(numbers)
        ordered = np.sort(numbers)
        chunks, starts = np.unique(ordered // CHUNK_ROWS, return_index=True)
        for chunk, part in zip(chunks.tolist(), np.split(ordered, starts[1:]), strict=True):
            bits = self._bits(chunk)
            bits[part - chunk * CHUNK_ROWS] = 1
            self._chunks[chunk] = np.packbits(bits)

    def spans(self) -> list[Span]:
        """The unbroken runs `(first, last)`, ascending."""
        found: list[Span] = []
        for first, last in self._chunk_spans():
            if found and found[-1][1] == first - 1:
                found[-1] = (found[-1][0], last)
            else:
                found.append((first, last))
        return found

    def _chunk_spans(self) -> Iterator[Span]:
        for chunk in sorted(self._chunks):
            edges = np.diff(self._bits(chunk).astype(np.int8), prepend=0, append=0)
            firsts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
            base = chunk * CHUNK_ROWS
            for first, end in zip(firsts.tolist(), ends.tolist(), strict=True):
                yield base + first, base + end - 1

    def _bits(self, chunk: int) -> NDArray[np.uint8]:
        packed = self._chunks.get(chunk)
        return np.zeros(CHUNK_ROWS, np.uint8) if packed is None else np.unpackbits(packed)
