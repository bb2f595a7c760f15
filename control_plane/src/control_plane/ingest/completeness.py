"""The completeness ledger: of each row number that a site used, where it is or why it is not here.

Enters: runs of row numbers in the lake, what sites said of their outboxes, gaps that they declared, how
far ingest has come. Leaves: an account per store that adds up to the row. Pure but for `read_accounts`.

A hole below an arrived row is no loss by itself: alerts overtake the backlog. It is *unexplained* once
the site has said that it will not send the row again and ingest has since read all that Kafka held
(`Progress.final_seq`); until then it has *not arrived yet*.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from control_plane.ingest.progress import FILE_NAME, Progress
from control_plane.sinks.arrival import CENTRE_STORE
from control_plane.sinks.lake import LakeReader
from control_plane.sinks.row_numbers import Span

UNEXPLAINED_SPANS_MAX = 1_000  # listed of one store; all are counted

# A count that is less than the one before it is of an agent that has started anew.
_SAID = """
    SELECT site_id, store_id, max(last_seq) AS last,
           sum(polls_missed - if(before <= polls_missed, before, 0))::BIGINT AS missed
    FROM (
        SELECT *, lag(polls_missed, 1, 0) OVER (PARTITION BY site_id, store_id ORDER BY seq) AS before
        FROM site_status
    )
    GROUP BY ALL
"""


class Gap(NamedTuple):
    """Rows `first` to `last`, all of them, were given up."""

    first: int
    last: int
    reason: str


@dataclass(frozen=True)
class Account:
    """One store's rows. `produced` is the highest row number heard of, and the sum of `arrived`,
    `explained` (rows by reason), `unexplained` and `not_yet`.

    `repeats` were dropped on arrival; `twice` are in the lake more than once, and none may be. `polls_missed`
    made no row: a poll that was due and never began, as heartbeats told (None: an agent that does not say).
    """

    site_id: str
    store_id: str
    produced: int
    arrived: int
    not_yet: int
    unexplained: int
    unexplained_spans: list[Span]
    explained: dict[str, int]
    repeats: int
    twice: int
    polls_missed: int | None = None

    @property
    def complete(self) -> bool:
        """Nothing is lost without a reason, and nothing is there twice."""
        return not self.unexplained and not self.twice


@dataclass
class Facts:
    """What is known of one store: the runs of its rows in the lake, ascending, and how many rows those
    are; the newest row number that a status named; its gaps; the row up to which nothing is under way."""

    runs: list[Span] = field(default_factory=list)
    rows: int = 0
    last_seq: int = 0
    gaps: list[Gap] = field(default_factory=list)
    final_seq: int = 0
    repeats: int = 0
    polls_missed: int | None = None


def account(site_id: str, store_id: str, facts: Facts) -> Account:
    """Add up one store."""
    heard_of = [*(last for _, last in facts.runs[-1:]), *(gap.last for gap in facts.gaps)]
    produced = max([facts.last_seq, *heard_of])
    arrived = _rows(facts.runs)
    holes, explained = explain(_holes(facts.runs, produced), facts.gaps)
    unexplained = [(first, min(last, facts.final_seq)) for first, last in holes if first <= facts.final_seq]
    missing = _rows(holes)
    return Account(
        site_id=site_id,
        store_id=store_id,
        produced=produced,
        arrived=arrived,
        not_yet=missing - _rows(unexplained),
        unexplained=_rows(unexplained),
        unexplained_spans=unexplained[:UNEXPLAINED_SPANS_MAX],
        explained=explained,
        repeats=facts.repeats,
        twice=facts.rows - arrived,
        polls_missed=facts.polls_missed,
    )


def explain(holes: Iterable[Span], gaps: Iterable[Gap]) -> tuple[list[Span], dict[str, int]]:
    """`(holes that no gap explains, rows explained by reason)`; holes ascend and do not touch.

    A row that several gaps name counts once. One sweep: both grow with an outage that lasted.
    """
    ahead, left = deque(holes), []
    explained: Counter[str] = Counter()
    for first, last, reason in sorted(gaps):
        while ahead and ahead[0][1] < first:
            left.append(ahead.popleft())
        while ahead and ahead[0][0] <= last:
            start, end = ahead.popleft()
            if start < first:
                left.append((start, first - 1))
            if end > last:
                ahead.appendleft((last + 1, end))
            explained[reason] += min(end, last) - max(start, first) + 1
    return [*left, *ahead], dict(explained)


def read_accounts(lake: Path, site: str | None = None) -> list[Account]:
    """Every store of every site (or of one) that the lake knows of; Retryable while there is no lake."""
    facts: defaultdict[tuple[str, str], Facts] = defaultdict(Facts)
    reader, progress = LakeReader(lake), Progress(lake / FILE_NAME)
    for place, numbers in reader.row_numbers().items():
        if place[1].startswith(CENTRE_STORE):
            continue  # predictions made here have the numbers of telemetry rows, and no site owes the others
        facts[place].runs, facts[place].rows = numbers.spans(), numbers.added
    for row in reader.rows(_SAID):
        place = row["site_id"], row["store_id"]
        facts[place].last_seq, facts[place].polls_missed = row["last"], row["missed"]
    for row in reader.rows(
        "SELECT DISTINCT site_id, gap_store_id, from_seq, to_seq, reason, runs FROM gaps"
        " WHERE gap_store_id IS NOT NULL"
    ):
        facts[row["site_id"], row["gap_store_id"]].gaps += _gaps(row)
    for (_, store_id), found in facts.items():
        found.final_seq = progress.final_seq.get(store_id, 0)
        found.repeats = progress.repeats.get(store_id, 0)
    return [account(*place, facts[place]) for place in sorted(facts) if site in (None, place[0])]


def _holes(runs: Sequence[Span], produced: int) -> list[Span]:
    """The row numbers from 1 to `produced` that are in no run."""
    before = [0, *(last for _, last in runs)]
    after = [*(first for first, _ in runs), produced + 1]
    return [(b + 1, a - 1) for b, a in zip(before, after, strict=True) if a - b > 1]


def _rows(spans: Iterable[Span]) -> int:
    return sum(last - first + 1 for first, last in spans)


def _gaps(row: Mapping[str, Any]) -> list[Gap]:
    """The unbroken runs of a row of `gaps`."""
    runs = row["runs"] or [(row["from_seq"], row["to_seq"])]
    return [Gap(first, last, row["reason"]) for first, last in runs]
