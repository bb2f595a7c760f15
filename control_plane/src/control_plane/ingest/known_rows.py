"""Which rows of which outbox have arrived: the centre's half of exactly-once.

Row numbers of one store arrive almost in order, so a store's arrivals are a few runs, not a set of
millions.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.errors import Rejected

RUNS_PER_STORE_MAX = 1_000_000  # about 130 MB; a site that gives up rows for weeks makes some 100,000

_NO_END = float("inf")
_FAR = np.iinfo(np.int64).max  # no row number has so many digits

Span = tuple[int, int]


class KnownRows:
    """Runs of row numbers by store; starts from what the lake holds."""

    def __init__(self, spans: Mapping[str, Sequence[Span]] | None = None) -> None:
        self._spans: dict[str, list[Span]] = defaultdict(list)
        for store_id, found in (spans or {}).items():
            self._spans[store_id] = sorted(found)
        self._runs_max = max(map(len, self._spans.values()), default=0)  # of any store, ever

    @property
    def room(self) -> int:
        """How many rows of any store could be noted without one being refused."""
        return RUNS_PER_STORE_MAX - self._runs_max

    def add(self, store_id: str, seq: int) -> bool:
        """Note the row; False when it was known already.

        Rejected when the store's rows are so scattered that they could no longer all be kept in mind.
        """
        runs = self._spans[store_id]
        at = bisect_right(runs, (seq, _NO_END))
        if at and runs[at - 1][1] >= seq:
            return False
        self._insert(store_id, seq, seq)
        return True

    def add_rows(self, store_id: str, seqs: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Note at most `room` rows; which of them were not known, the first of equal ones."""
        is_new = np.zeros(len(seqs), np.bool_)
        rows, firsts = np.unique(seqs, return_index=True)
        fresh = ~self._holds(store_id, rows)
        is_new[firsts[fresh]] = True
        rows = rows[fresh]
        ends = np.flatnonzero(np.diff(rows, append=_FAR) != 1)
        starts = np.append(0, ends[:-1] + 1)[: len(ends)]
        for first, last in zip(rows[starts].tolist(), rows[ends].tolist(), strict=True):
            self._insert(store_id, first, last)
        return is_new

    def _holds(self, store_id: str, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the ascending `rows` are known."""
        runs = self._spans[store_id]
        if not len(rows) or not runs or runs[-1][1] < rows[0]:  # nearly always
            return np.zeros(len(rows), np.bool_)
        first = max(bisect_right(runs, (rows[0], _NO_END)) - 1, 0)
        near = np.array(runs[first : bisect_right(runs, (rows[-1], _NO_END))], np.int64).reshape(-1, 2)
        at = np.searchsorted(near[:, 0], rows, side="right") - 1
        return (at >= 0) & (near[at, 1] >= rows) if len(near) else np.zeros(len(rows), np.bool_)

    def _insert(self, store_id: str, first: int, last: int) -> None:
        """Note an unbroken run of rows, none of which is known."""
        runs = self._spans[store_id]
        at = bisect_right(runs, (first, _NO_END))
        joins_left = at > 0 and runs[at - 1][1] == first - 1
        joins_right = at < len(runs) and runs[at][0] == last + 1
        if not joins_left and not joins_right and len(runs) >= RUNS_PER_STORE_MAX:
            raise Rejected(
                f"store {store_id}: row {first} would begin run {len(runs) + 1} of its row numbers; "
                f"at most {RUNS_PER_STORE_MAX} are kept"
            )
        begin = runs[at - 1][0] if joins_left else first
        end = runs[at][1] if joins_right else last
        runs[at - joins_left : at + joins_right] = [(begin, end)]
        self._runs_max = max(self._runs_max, len(runs))

    def spans(self, store_id: str) -> list[Span]:
        """The runs `(first, last)` known of a store, ascending."""
        return list(self._spans.get(store_id, ()))
