"""The completeness ledger adds up to the row, and calls nothing lost that may still arrive."""

import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from confluent_kafka import OFFSET_INVALID, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from control_plane.ingest.completeness import Facts, Gap, account, explain
from control_plane.ingest.consumer import _caught_up
from control_plane.ingest.intake import Intake, Received
from control_plane.ingest.known_rows import KnownRows
from control_plane.ingest.progress import Progress
from control_plane.sinks.row_numbers import CHUNK_ROWS, RowNumbers
from shared.envelope import headers, parse_headers
from shared.errors import Rejected
from shared.schemas import Outgoing

ROWS = st.sets(st.integers(1, 40))


def facts(arrived=(), last_seq=0, gaps=(), final_seq=0) -> Facts:
    numbers = RowNumbers()
    numbers.add(np.array(sorted(arrived), np.int64))
    return Facts(numbers.spans(), numbers.added, last_seq, [Gap(*gap) for gap in gaps], final_seq)


@given(
    ROWS, st.integers(0, 45), st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9))), st.integers(0, 45)
)
def test_every_row_is_in_exactly_one_column(arrived, last_seq, gaps, final_seq):
    """Against a count row by row: arrived, else explained, else final and unexplained, else not yet."""
    named = [(first, first + more, "outbox_full") for first, more in gaps]
    found = account("TX01", "s", facts(arrived, last_seq, named, final_seq))
    lost = {row for first, last, _ in named for row in range(first, last + 1)}
    rest = set(range(1, found.produced + 1)) - arrived - lost
    assert found.arrived == len(arrived)
    assert sum(found.explained.values()) == len(lost - arrived)
    assert found.unexplained == len({row for row in rest if row <= final_seq})
    assert found.not_yet == len({row for row in rest if row > final_seq})
    assert found.produced == found.arrived + sum(found.explained.values()) + found.unexplained + found.not_yet


def test_a_hole_that_alerts_overtook_has_not_arrived_yet():
    """Rows 1 to 90 wait behind alerts 91 to 95: nothing is lost before the site has sent them."""
    found = account("TX01", "s", facts(range(91, 96), last_seq=120))
    assert (found.not_yet, found.unexplained, found.complete) == (115, 0, True)


def test_a_hole_that_can_no_longer_arrive_is_unexplained_and_named():
    """Once everything up to 100 is settled and read, what is not here and has no reason is lost."""
    arrived = [*range(1, 50), *range(53, 101)]
    found = account("TX01", "s", facts(arrived, last_seq=110, final_seq=100))
    assert (found.unexplained, found.unexplained_spans, found.not_yet) == (3, [(50, 52)], 10)
    assert not found.complete


def test_reasons_are_kept_apart():
    """Each gap's rows count under its reason, a row that two name once, one that arrived never."""
    gaps = [(1, 10, "outbox_full"), (8, 12, "disk_full"), (12, 12, "outbox_full")]
    found = account("TX01", "s", facts([9], 12, gaps, 12))
    assert found.explained == {"outbox_full": 9, "disk_full": 2}
    assert found.complete


def test_a_long_outage_is_swept_in_one_pass():
    """A hundred thousand gaps of one row each leave the rows between them."""
    gaps = [Gap(seq, seq, "outbox_full") for seq in range(2, 300_000, 3)]
    left, explained = explain([(1, 300_000)], gaps)
    assert (len(left), explained) == (100_001, {"outbox_full": 100_000})


def test_rows_twice_in_the_lake_are_seen():
    """The lake holds a record once; if ever it does not, the account says so."""
    found = account("TX01", "s", Facts([(1, 5)], 7, 5))
    assert (found.arrived, found.twice, found.complete) == (5, 2, False)


def test_what_was_settled_is_final_only_after_all_of_kafka_was_read(tmp_path):
    """A status alone makes nothing final; the note survives a restart, and a torn one starts anew."""
    progress = Progress(tmp_path / "ingest.json")
    progress.note_settled("s", 7)
    assert (progress.final_seq, progress.has_news) == ({}, True)
    progress.caught_up()
    assert not progress.has_news
    progress.count_repeat("s")
    progress.save()
    again = Progress(tmp_path / "ingest.json")
    assert (again.final_seq, dict(again.repeats)) == ({"s": 7}, {"s": 1})
    again.note_settled("s", 3)  # an older status that arrived late
    again.caught_up()
    assert again.final_seq == {"s": 7}
    (tmp_path / "ingest.json").write_text('{"final_seq": ')
    assert Progress(tmp_path / "ingest.json").final_seq == {}


class Kept:
    """A sink and the dead letters, in memory."""

    def __init__(self) -> None:
        self.arrivals, self.letters = [], []

    def accept(self, batch) -> None:
        self.arrivals += batch

    def put(self, message, reason) -> None:
        self.letters.append(reason)


def received(body: dict, site: str = "TX01", seq: int = 5) -> Received:
    record = Outgoing("telemetry/1", f"{site}/R1/pump", 0, json.dumps(body).encode())
    return Received("telemetry_raw", None, headers(record, "s", seq, "c"), record.body, "here")


READING = {
    "timestamp": "2026-01-01T00:00:00Z",
    "site_id": "TX01",
    "reactor_id": "R1",
    "component": "pump",
    "metrics": {},
}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (received(READING | {"metrics": "none"}), "telemetry/1: metrics"),
        (received(READING | {"cycle": 2**63}), "telemetry/1: a whole number in it does not fit 64 bits"),
        (received(READING, site="ID01"), "header site: found 'ID01'; the record is of TX01/R1/pump"),
    ],
)
def test_a_row_that_cannot_be_read_leaves_its_number(message, reason):
    """It is a dead letter, and the lake learns which row it was; read later, it is still new."""
    kept, known = Kept(), KnownRows()
    Intake([kept], known, Progress()).take([message], kept, threading.Event())
    assert kept.letters[0].startswith(reason)
    [note] = kept.arrivals
    assert (note.record.from_seq, note.record.to_seq, note.record.reason) == (5, 5, "rejected")
    assert (note.envelope.schema, note.envelope.store_id, note.envelope.seq) == ("gap/1", "s", 5)
    assert known.spans("s") == []


@pytest.mark.parametrize("seq", ["²", "-1", "", "9" * 19])
def test_a_row_number_that_is_none_is_refused(seq):
    """What a column of 64 bits cannot hold would stop every batch behind it."""
    marks = headers(Outgoing("telemetry/1", "TX01/R1/pump", 0, b""), "s", 1, "c") | {"seq": seq}
    with pytest.raises(Rejected, match="seq"):
        parse_headers(marks)


def test_known_rows_are_bounded(monkeypatch):
    """A store whose row numbers are scattered without end is refused, not kept in mind for ever."""
    monkeypatch.setattr("control_plane.ingest.known_rows.RUNS_PER_STORE_MAX", 3)
    known = KnownRows()
    assert all(known.add("s", seq) for seq in (1, 3, 5, 2, 7))
    with pytest.raises(Rejected, match="store s: row 9 would begin run 4 of its row numbers; at most 3"):
        known.add("s", 9)
    assert known.add("s", 8)
    assert known.add("other", 9)


@given(st.lists(st.integers(1, 30)))
def test_known_rows_say_new_once(seqs):
    """Whatever the order and the repeats, each row is new exactly once, and the runs are its rows."""
    known, seen = KnownRows(), set()
    for seq in seqs:
        assert known.add("s", seq) == (seq not in seen)
        seen.add(seq)
    assert [row for first, last in known.spans("s") for row in range(first, last + 1)] == sorted(seen)


@pytest.mark.parametrize(
    ("origin", "notes"), [({}, [("TX01", "s", 5, 5, "rejected")]), ({"origin": "telemetry_raw/0/1"}, [])]
)
def test_a_row_that_the_site_could_not_send_is_accounted_for(origin, notes):
    """A site's dead letter names its row; a dead letter of ingest itself has been noted before."""
    kept = Kept()
    letter = received(READING)
    letter = letter._replace(topic="telemetry_raw.dlq", body=b"", headers=dict(letter.headers) | origin)
    Intake([kept], KnownRows(), Progress()).take([letter], kept, threading.Event())
    found = [arrival.record for arrival in kept.arrivals]
    assert [(r.site_id, r.store_id, r.from_seq, r.to_seq, r.reason) for r in found] == notes
    assert kept.letters == []


class Asked:
    """A consumer of one topic with two partitions; `positions` and `committed` by partition."""

    def __init__(self, positions, committed=(OFFSET_INVALID, OFFSET_INVALID), assigned=(0, 1)) -> None:
        self.positions, self.offsets, self.assigned = positions, committed, assigned

    def assignment(self):
        return [TopicPartition("t", number) for number in self.assigned]

    def position(self, places):
        return [TopicPartition("t", p.partition, self.positions[p.partition]) for p in places]

    def committed(self, places, timeout):
        return [TopicPartition("t", p.partition, self.offsets[p.partition]) for p in places]

    def list_topics(self, timeout):
        return SimpleNamespace(topics={"t": SimpleNamespace(partitions={0: None, 1: None})})

    def get_watermark_offsets(self, place, timeout):
        return [(0, 10), (4, 4)][place.partition]


@pytest.mark.parametrize(
    ("consumer", "caught_up"),
    [
        (Asked((10, OFFSET_INVALID)), True),  # the second holds nothing: its beginning is its end
        (Asked((9, OFFSET_INVALID)), False),
        (Asked((OFFSET_INVALID, OFFSET_INVALID)), False),  # nothing read yet
        (Asked((OFFSET_INVALID, OFFSET_INVALID), (10, 4)), True),  # read to the end before a restart
        (Asked((10, 4), assigned=(0,)), False),  # somebody else has the other partition
        (Asked((10, 4), assigned=()), False),
    ],
)
def test_caught_up_means_every_partition_to_its_end(consumer, caught_up):
    """Only then may a row that is not here be called lost."""
    assert _caught_up(consumer, consumer, ["t", "not made yet"]) is caught_up


EDGES = st.integers(0, 3).flatmap(lambda k: st.integers(k * CHUNK_ROWS - 3, k * CHUNK_ROWS + 3)).map(abs)


@given(st.lists(st.lists(st.integers(0, 40) | EDGES | st.just(10**18 - 1), max_size=20), max_size=5))
def test_row_numbers_are_a_set(batches):
    """In whatever batches they come: the runs are exactly the numbers, and every number given is counted."""
    numbers = RowNumbers()
    for batch in batches:
        numbers.add(np.array(batch, np.int64))
    given = [n for batch in batches for n in batch]
    assert [n for first, last in numbers.spans() for n in range(first, last + 1)] == sorted(set(given))
    assert numbers.added == len(given)
