"""Readings as columns: the same rows, refusals and repeats as record by record."""

import json
import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import control_plane.sinks.batch as batch_room
from control_plane.ingest import readings as room
from control_plane.ingest.intake import Intake, Received
from control_plane.ingest.known_rows import KnownRows
from control_plane.ingest.progress import Progress
from control_plane.ingest.readings import ReadingColumns
from control_plane.ingest.routed import Routed
from control_plane.ingest.routing import Routes
from control_plane.sinks.alerts import AlertSink
from control_plane.sinks.arrival import Arrival
from control_plane.sinks.lake_tables import TABLES, row, tables
from shared.envelope import headers, parse_headers
from shared.schemas import Outgoing, Telemetry, parse_record

READING = {
    "timestamp": "2026-01-01T00:00:00.25Z",
    "site_id": "TX01",
    "reactor_id": "R1",
    "component": "pump",
    "cycle": 7,
    "metrics": {"flow": 1.5, "temp": 2},
    "quality": {"amps": "timeout"},
}
SCHEMA = TABLES[Telemetry.SCHEMA].schema


def marks(site: str = "TX01", seq: object = 5, **others: object) -> list[tuple[str, bytes]]:
    found = headers(Outgoing("telemetry/1", f"{site}/R1/pump", 0, b""), "s", 1, "c") | {"seq": seq} | others
    return [
        (name, value if isinstance(value, bytes) else str(value).encode()) for name, value in found.items()
    ]


def as_bytes(reading: object) -> bytes:
    return json.dumps(reading).encode()


numbers = st.one_of(
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.sampled_from(["1.5", True, None, [], {}, 1e308, 5e-324, -0.0, 0.1 + 0.2, 2**63, 2**63 - 1, 1e18, 7.0]),
)
names = st.one_of(
    st.sampled_from(["TX01", "R1", "pump", "a/b", "", "-x", "a" * 65, "pump\n", "ä", 5, None]), st.text()
)
tags = st.one_of(st.sampled_from(["flow", "amps", ""]), st.text(max_size=4))
stamps = st.one_of(
    st.datetimes().map(lambda t: t.isoformat() + "Z"),
    st.from_regex(
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T t][0-9]{2}(:[0-9]{2}){0,2}([.,][0-9]{0,10})?"
        r"(Z|z|[+-][0-9]{2}:?[0-9]{2})?"
    ),
    st.sampled_from(
        ["0000-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-01T23:59:60Z", "2026-01-01T24:00:00Z",
         "2026-01-01 00:00:00Z", "2026-01-01T00:00:00.1234567Z", "2026-01-01T00:00:00.Z", "1e9", 1767225600,
         None, "2026-01-01T00:00:00Z\n", "+026-01-01T00:00:00Z", "2026-01-01T00:00:00,5Z",
         "9999-12-31T23:59:59.999999Z"]
    ),
)  # fmt: skip
changes = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": stamps,
        "site_id": names,
        "reactor_id": names,
        "component": names,
        "cycle": numbers,
        "metrics": st.one_of(st.dictionaries(tags, numbers, max_size=4), numbers),
        "quality": st.one_of(
            st.dictionaries(tags, st.sampled_from(["timeout", "good", "", 1]), max_size=3), numbers
        ),
        "more": st.just(1),
    },
)
PIECES = [
    b"", b'"', b"\\u0061", b"\\ud800", b"\xff", b"\x00", b" ", b",", b"{", b"}", b"-", b"0", b"1e400", b"NaN",
    b"null", b'"cycle":1.0,', b'"flow":1,', b'"metrics":{"b":1},', b'"site_id":"ID01",', b'"amps":1,',
]  # fmt: skip
HEADERS = [
    marks(), marks("ID01"), marks(seq="007"), marks(seq="+7"), marks(seq="1_0"), marks(seq="9" * 19),
    marks(seq=""), marks(store_id=""), marks(schema="alert/1"), marks(config_hash=b"\xff"),
    [*marks(), ("seq", b"8")], marks()[::-1], marks()[:-2], [], None,
]  # fmt: skip


def slow(mark: object, body: bytes) -> Arrival:
    """What ingest makes of it by the schemas alone; Rejected."""
    envelope = parse_headers(mark)
    record = parse_record(envelope.schema, body)
    assert record.key.split("/")[0] == envelope.site
    return Arrival(record, body, envelope)


def agree(mark: object, body: bytes) -> bool:
    """Whether it went at once; then its row is the one that the schemas make."""
    columns = ReadingColumns(KnownRows())
    if not columns.take([mark], [body]):
        return False
    new = columns.gathered().new
    arrival = slow(mark, body)
    expected = pa.Table.from_pylist([row(arrival)], schema=SCHEMA)
    assert new.table.equals(expected)
    assert list(new.arrivals()) == [arrival]
    assert repr(new.table["metrics"].to_pylist()) == repr(expected["metrics"].to_pylist())  # -0.0 is not 0.0
    return True


@settings(max_examples=200, deadline=None)
@given(changes, st.sampled_from(HEADERS))
@example({"timestamp": "0000-01-01T00:00:00Z"}, marks())
@example({"timestamp": "2026-01-01T00:00:00.1234567Z"}, marks())
@example({"timestamp": "2026-01-01T00:00:00aZ"}, marks())  # numpy reads these, pydantic does not
@example({"timestamp": "2026-01-01T00:00:00.5ZZ"}, marks())
@example({"timestamp": "2026-01-01T00:00:00+05Z"}, marks())
@example({"timestamp": "2026-01-01T00:00:00 \nZ"}, marks())
@example({"cycle": 2**63}, marks())
@example({"metrics": {"amps": 1.0}}, marks())
@example({"site_id": "ID01"}, marks())
def test_whatever_goes_at_once_the_schemas_allow_with_the_same_values(change, mark):
    """The columns' rules are never laxer than the schemas', whatever a record says of itself."""
    agree(mark, as_bytes(READING | change))


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(as_bytes(READING))), st.integers(0, 3), st.sampled_from(PIECES))
def test_whatever_damaged_json_goes_at_once_the_schemas_allow_too(at, cut, piece):
    """Both read the same JSON: doubled keys, escapes, numbers, what is no JSON at all."""
    body = as_bytes(READING)
    agree(marks(), body[:at] + piece + body[at + cut :])


@pytest.mark.parametrize("stamp", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123456Z"])
def test_what_a_site_sends_goes_at_once(stamp):
    """As an agent writes a reading; were it not so, ingest would be slow and nobody would see why."""
    record = Telemetry.model_validate(READING | {"timestamp": stamp})
    assert agree(marks(), record.outgoing().body)
    assert agree(marks(), record.model_copy(update={"cycle": None, "quality": {}}).outgoing().body)
    assert set(room._Body.__struct_fields__) == set(Telemetry.model_fields)


class Kept:
    """A sink and the dead letters, in memory."""

    def __init__(self) -> None:
        self.tables, self.letters = {}, []

    def accept(self, batch) -> None:
        self.tables = {schema: table.to_pylist() for schema, table in tables(batch).items()}

    def put(self, message, reason) -> None:
        self.letters.append((message.origin, reason))


def taken(messages: list[Received]) -> tuple[object, ...]:
    kept, known, progress = Kept(), KnownRows({"s": [(3, 3)]}), Progress()
    intake = Intake([kept], known, progress)
    intake.take(messages, kept, threading.Event())
    counts = intake.accepted, intake.repeats, intake.dead_letters, dict(progress.repeats)
    notes = [note["from_seq"] for note in kept.tables.pop("gap/1", [])]
    return kept.tables, kept.letters, notes, counts, known.spans("s")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 12), st.one_of(st.just({}), changes)), max_size=12))
def test_a_batch_gives_what_it_gives_record_by_record(found):
    """The same rows in the same order, the same refusals with the same reasons, the same repeats."""
    messages = []
    for n, (seq, change) in enumerate(found):
        # A row number stands for one record for ever: a repeat is the same one.
        first = next(change for other, change in found if other == seq)
        body = as_bytes(READING | first)
        messages.append(Received("telemetry_raw", None, marks(seq=seq), body, f"{n}"))
    at_once = taken(messages)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ReadingColumns, "take", lambda *_: False)
        patched.setattr(ReadingColumns, "add", lambda *_: False)
        assert repr(at_once) == repr(taken(messages))


def test_no_object_is_made_of_a_reading_that_no_sink_looks_at(monkeypatch):
    """The lake takes columns and the alarm list alerts: by the usual routes nobody needs a record."""
    monkeypatch.setattr(batch_room, "parse_record", None)
    lake, alerts = Kept(), AlertSink(None)  # type: ignore[arg-type]
    sinks = [Routed("alerts", alerts, Routes()), Routed("lake", lake, Routes())]
    messages = [
        Received("telemetry_raw", None, marks(seq=seq), as_bytes(READING), "here") for seq in range(1, 301)
    ]
    Intake(sinks, KnownRows(), Progress()).take(messages, lake, threading.Event())
    assert [found["seq"] for found in lake.tables["telemetry/1"]] == list(range(1, 301))


def test_a_sink_gets_the_readings_of_its_components_alone():
    """A batch of columns is split by the routes as one of objects is."""
    columns = ReadingColumns(KnownRows())
    parts = ["pump", "valve", "pump"]
    bodies = [as_bytes(READING | {"component": part}) for part in parts]
    assert columns.take([marks(seq=n + 1) for n in range(3)], bodies)
    chosen = batch_room.Batch(columns.gathered().new, []).where(lambda _, key: key == "TX01/R1/pump")
    assert [(a.envelope.seq, a.record.component) for a in chosen] == [(1, "pump"), (3, "pump")]
    assert chosen.readings.table["seq"].to_pylist() == [1, 3]


@given(st.lists(st.lists(st.integers(1, 30))))
def test_rows_at_once_are_known_as_one_by_one(parts):
    """Whatever the order and the repeats: the same are new, and the same runs are kept."""
    at_once, one_by_one = KnownRows(), KnownRows()
    for part in parts:
        found = at_once.add_rows("s", np.array(part, np.int64))
        assert found.tolist() == [one_by_one.add("s", seq) for seq in part]
    assert at_once.spans("s") == one_by_one.spans("s")


def test_scattered_rows_are_refused_one_by_one(monkeypatch):
    """Where a batch's rows could not all be kept in mind, each is judged by itself, with its reason."""
    monkeypatch.setattr("control_plane.ingest.known_rows.RUNS_PER_STORE_MAX", 3)
    kept, known = Kept(), KnownRows({"s": [(3, 3), (5, 5), (7, 7)]})
    messages = [Received("telemetry_raw", None, marks(seq=n), as_bytes(READING), str(n)) for n in (9, 4)]
    Intake([kept], known, Progress()).take(messages, kept, threading.Event())
    assert [found["seq"] for found in kept.tables["telemetry/1"]] == [4]
    [(origin, reason)] = kept.letters
    assert origin == "9"
    assert reason.startswith("store s: row 9 would begin run 4 of its row numbers; at most 3")
    assert known.spans("s") == [(3, 5), (7, 7)]
