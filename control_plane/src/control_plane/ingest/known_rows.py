"""Which rows of which outbox have arrived: the centre's half of exactly-once.

Row numbers of one store arrive almost in order, so a store's arrivals are a few runs, not a set of
millions.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence

from shared.errors import Rejected

RUNS_PER_STORE_MAX = 1_000_000  # about 130 MB; a site that gives up rows for weeks makes some 100,000

Span = tuple[int, int]


class KnownRows:
    """Runs of row numbers by store; starts from what the lake holds."""

    def __init__(self, spans: Mapping[str, Sequence[Span]] | None = None) -> None:
        self._spans: dict[str, list[Span]] = defaultdict(list)
        for store_id, found in (spans or {}).items():
            self._spans[store_id] = sorted(found)

    def add(self, store_id: str, seq: int) -> bool:
        """Note the row; False when it was known already.

        Rejected when the store's rows are so scattered that they could no longer all be kept in mind.
        """
        runs = self._spans[store_id]
        at = bisect_right(runs, (seq, float("inf")))
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
        return True

    def spans(self, store_id: str) -> list[Span]:
        """The runs `(first, last)` known of a store, ascending."""
        return list(self._spans.get(store_id, ()))
