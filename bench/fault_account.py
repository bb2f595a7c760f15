"""What became of every reading of one site: the lake and Kafka against the plant's ledger."""

import json
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from bench.fault_site import FaultSite
from control_plane.ingest.completeness import read_accounts
from control_plane.sinks.lake import LakeReader
from shared.envelope import parse_headers

UNREAD_S_MAX = 1.5  # beyond the missed polls that were told: one that comes late skips a cycle too
UNTOLD_S_MAX = 2.5  # before kill -9: what the next heartbeat, every 2 s, would have told
IN_ORDER = ("telemetry_raw", "predictions")  # topics in which a component's row numbers only rise
READ_S = 30.0

Row = Mapping[str, Any]
Shown = Mapping[tuple[str, int], Mapping[str, float | None]]  # values by component and cycle


@dataclass
class Reckoning:
    """Counts of one site; all but `rows` and `explained` must be 0."""

    rows: int = 0
    explained: int = 0
    lost: int = 0
    unexplained_gaps: int = 0
    duplicates: int = 0
    reordered: int = 0
    misattributed: int = 0

    def __add__(self, other: "Reckoning") -> "Reckoning":
        return Reckoning(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def clean(self) -> bool:
        """Nothing lost, doubled, mixed up or left unexplained."""
        return not any(astuple(self)[2:])


@dataclass(frozen=True)
class PollsMissed:
    """What the heartbeats of a site told, by place: (begin of the store, seq)."""

    places: Sequence[tuple[datetime, int]]
    counts: Sequence[int]

    @classmethod
    def read(cls, lake: Path, site_id: str) -> "PollsMissed":
        """From the lake."""
        query = f"""
            SELECT begun, seq, polls_missed FROM site_status
            JOIN (SELECT store_id, min(timestamp) AS begun FROM telemetry GROUP BY store_id) USING (store_id)
            WHERE site_id = '{site_id}' ORDER BY begun, seq
        """  # noqa: S608 - our own site's name
        told = LakeReader(lake).rows(query)
        return cls([(row["begun"], row["seq"]) for row in told], [row["polls_missed"] for row in told])

    def between(self, before: Row, after: Row) -> int:
        """Polls that were missed between two rows, from the last heartbeat before to the first after them."""
        first = bisect(self.places, (before["begun"], before["seq"]))
        last = bisect(self.places, (after["begun"], after["seq"]))
        if not first or last == len(self.places):
            return 0  # no heartbeat tells
        told = self.counts[last] - self.counts[first - 1]
        return told if told >= 0 else self.counts[last]  # the agent started anew


def reckon(site: FaultSite, lake: Path) -> Reckoning:
    """Count what is wrong with this site's records in the lake.

    *Lost*: rows that the site numbered, which neither arrived nor are explained. *Unexplained gaps*: runs of
    those, and cycles that the plant showed while the agent ran, of which there is no row, no reason, no gap
    record, and no missed poll that a heartbeat told. *Duplicates*: a row or a cycle twice. *Reordered*: a
    component's cycle before an older one. *Misattributed*: a number that the plant did not show for that tag
    at that cycle.
    """
    found = Reckoning()
    for account in read_accounts(lake, site.site_id):
        found.rows += account.produced
        refused = account.explained.get("rejected", 0)  # by our own centre: told, but lost all the same
        found.explained += sum(account.explained.values()) - refused
        found.lost += account.unexplained + account.not_yet + refused
        found.unexplained_gaps += len(account.unexplained_spans)
        found.duplicates += account.twice
    shown, shown_at = _ledger(site.ledger)
    given_up, missed = _given_up(lake, site.site_id), PollsMissed.read(lake, site.site_id)
    for key, rows in _telemetry(lake, site.site_id).items():
        numbered = [row for row in rows if row["cycle"] is not None]
        found.misattributed += sum(_wrong(row, shown.get((key, row["cycle"]), {})) for row in numbered)
        found.duplicates += len(numbered) - len({row["cycle"] for row in numbered})
        found.reordered += sum(b["cycle"] < a["cycle"] for a, b in pairwise(numbered))
        found.unexplained_gaps += _silences(site, rows, shown_at, given_up, missed)
    return found


def _ledger(path: Path) -> tuple[Shown, Mapping[int, float]]:
    """What was shown, and when each cycle was."""
    shown, shown_at = {}, {}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        shown[entry["key"], entry["cycle"]] = entry["values"]
        shown_at[entry["cycle"]] = datetime.fromisoformat(entry["time"]).timestamp()
    return shown, shown_at


def _telemetry(lake: Path, site_id: str) -> Mapping[str, Sequence[Row]]:
    """Each component's rows as the site numbered them; a damaged store is followed by another."""
    query = f"""
        SELECT *, min(timestamp) OVER (PARTITION BY store_id) AS begun FROM telemetry
        WHERE site_id = '{site_id}' ORDER BY begun, seq
    """  # noqa: S608 - our own site's name
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for row in LakeReader(lake).rows(query):
        found[f"{site_id}/{row['reactor_id']}/{row['component']}"].append(row)
    return found


def _given_up(lake: Path, site_id: str) -> Sequence[tuple[str, int, int]]:
    """Store, first and last row of each gap."""
    query = f"SELECT gap_store_id, from_seq, to_seq FROM gaps WHERE site_id = '{site_id}'"  # noqa: S608
    return [(row["gap_store_id"], row["from_seq"], row["to_seq"]) for row in LakeReader(lake).rows(query)]


def _explained(before: Row, after: Row, given_up: Iterable[tuple[str, int, int]]) -> bool:
    """Whether rows were given up between two that arrived."""
    for store_id, first, last in given_up:
        past = store_id != before["store_id"] or before["seq"] < last
        ahead = store_id != after["store_id"] or first < after["seq"]
        if store_id in (before["store_id"], after["store_id"]) and past and ahead:
            return True
    return False


def _wrong(row: Row, truth: Mapping[str, float | None]) -> int:
    return sum(truth.get(tag) != value for tag, value in dict(row["metrics"]).items())


def _silences(
    site: FaultSite,
    rows: Sequence[Row],
    shown_at: Mapping[int, float],
    given_up: Sequence[tuple[str, int, int]],
    missed: "PollsMissed",
) -> int:
    """Cycles went by between two rows that were read, and nothing tells why."""
    numbered = [at for at, row in enumerate(rows) if row["cycle"] is not None]
    silent = 0
    for at, then in pairwise(numbered):
        before, after = rows[at], rows[then]
        cycles, without_number = after["cycle"] - before["cycle"], then - at - 1
        began_s, ended_s = shown_at[before["cycle"]], shown_at[after["cycle"]]
        untold = cycles - 1 - without_number
        if untold * (ended_s - began_s) > UNREAD_S_MAX * cycles:
            untold -= missed.between(before, after)
        if untold * (ended_s - began_s) <= UNREAD_S_MAX * cycles:
            continue
        explained = _explained(before, after, given_up)
        down = any(began_s < up_s and down_s - UNTOLD_S_MAX < ended_s for down_s, up_s in site.down)
        silent += not (explained or down)
    return silent


def reordered_in_kafka(bootstrap: str) -> dict[str, int]:
    """By site: records of a component that first came after a later one of theirs."""
    settings = {"bootstrap.servers": bootstrap, "group.id": "reckoning", "enable.auto.commit": False}
    consumer = Consumer(settings)
    newest: dict[tuple[str, str, str], int] = {}
    seen: set[tuple[str, int]] = set()
    wrong: defaultdict[str, int] = defaultdict(int)
    for topic in IN_ORDER:
        for message in _everything(consumer, topic):
            envelope, key = parse_headers(message.headers()), (message.key() or b"").decode()
            if (envelope.store_id, envelope.seq) in seen:
                continue
            seen.add((envelope.store_id, envelope.seq))
            place = (topic, key, envelope.store_id)
            wrong[envelope.site] += envelope.seq < newest.get(place, 0)
            newest[place] = max(envelope.seq, newest.get(place, 0))
    consumer.close()
    return wrong


def _everything(consumer: Consumer, topic: str) -> Iterable[Any]:
    """All messages that the topic holds now, partition by partition."""
    for partition in consumer.list_topics(topic, READ_S).topics[topic].partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), READ_S)
        if high == low:
            continue
        consumer.assign([TopicPartition(topic, partition, low)])
        while True:
            message = consumer.poll(READ_S)
            if message is None:
                raise TimeoutError(f"{topic}/{partition} gives nothing within {READ_S:.0f} s")
            if message.error():
                continue
            yield message
            if (message.offset() or 0) >= high - 1:
                break
