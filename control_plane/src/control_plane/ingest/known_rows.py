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
        """How many rows of any store could be noted for sure; when there was too little once, it stays so."""
        return RUNS_PER_STORE_MAX - self._runs_max

    def add(self, store_id: str, seq: int) -> bool:
        """Note the row; False when it was known already.

        Rejected when the store's rows are so scattered that they could no longer all be kept in mind.
        """
        runs = self._spans[store_id]
        at = bisect_right(runs, (seq, _NO_END))
        if at and runs[at - 1][1] >= seq:
            return False
        joins_left = at > 0 and runs[at - 1][1] == seq - 1
        joins_right = at < len(runs) and runs[at][0] == seq + 1
        if not joins_left and not joins_right and len(runs) >= RUNS_PER_STORE_MAX:
            raise Rejected(
                f"store {store_id}: row {seq} would begin run {len(runs) + 1} of its row numbers; "
                f"at most {RUNS_PER_STORE_MAX} are kept"
            )
        first = runs[at - 1][0] if joins_left else seq
        last = runs[at][1] if joins_right else seq
        runs[at - joins_left : at + joins_right] = [(first, last)]
        self._runs_max = max(self._runs_max, len(runs))
        return True

    def add_rows(self, store_id: str, seqs: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Note at most `room` rows; which of them were not known, the first of equal ones."""
        is_new = np.zeros(len(seqs), np.bool_)
        if not len(seqs):
            return is_new
        runs = self._spans[store_id]
        rows, firsts = np.unique(seqs, return_index=True)
        begin = max(bisect_right(runs, (int(rows[0]), _NO_END)) - 1, 0)
        end = bisect_right(runs, (int(rows[-1]) + 1, _NO_END))
        near = np.array(runs[begin:end], np.int64).reshape(-1, 2)
        at = np.searchsorted(near[:, 0], rows, side="right")
        fresh = rows > np.append(-1, near[:, 1])[at]  # the end of the run that begins before it
        is_new[firsts[fresh]] = True
        runs[begin:end] = _joined(np.vstack([near, np.repeat(rows[fresh], 2).reshape(-1, 2)]))
        self._runs_max = max(self._runs_max, len(runs))
        return is_new

    def spans(self, store_id: str) -> list[Span]:
        """The runs `(first, last)` known of a store, ascending."""
        return list(self._spans.get(store_id, ()))


def _joined(runs: NDArray[np.int64]) -> list[Span]:
    """Runs of which no two overlap, those that touch as one, ascending."""
    runs = runs[np.argsort(runs[:, 0])]
    apart = runs[1:, 0] != runs[:-1, 1] + 1
    firsts, lasts = runs[np.append(True, apart), 0], runs[np.append(apart, True), 1]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))
