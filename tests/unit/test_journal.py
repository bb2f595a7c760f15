"""The journal of roll-outs in SQLite: kept, numbered, bounded; what a site still has to be told."""

import sqlite3
import threading
from datetime import UTC, datetime

import pytest

from control_plane.release.fleet_store import FleetStore
from control_plane.release.journal import (
    DETAIL_CHARS_MAX,
    Event,
    Health,
    Kind,
    answer_event,
    health_event,
    outstanding,
)
from shared.errors import Rejected, Retryable
from shared.wire import fleet_pb2

NOW = datetime(2026, 1, 1, 12, 30, 5, 250, tzinfo=UTC)
SITES = 'CREATE TABLE sites (site_id VARCHAR NOT NULL, audit_key VARCHAR NOT NULL, agent_version VARCHAR NOT NULL, store_id VARCHAR NOT NULL, models JSON NOT NULL, last_seen DATETIME NOT NULL, PRIMARY KEY (site_id))'  # fmt: skip  # noqa: E501
JOURNAL = 'CREATE TABLE journal (number INTEGER NOT NULL, rollout_id VARCHAR NOT NULL, generation INTEGER NOT NULL, site VARCHAR NOT NULL, kind VARCHAR NOT NULL, detail VARCHAR NOT NULL, "at" DATETIME NOT NULL, PRIMARY KEY (number))'  # fmt: skip  # noqa: E501


def event(kind, site="TX01", rollout="r1", generation=1, detail=""):
    return Event(rollout, generation, site, kind, detail, NOW)


STARTED = event(Kind.STARTED, site="", detail='{"release": "pump/1", "component_type": "pump"}')
COMMANDED = event(Kind.COMMANDED)


def journal(store):
    return [line.event for line in store.events()]


@pytest.fixture
def store(tmp_path):
    return FleetStore(tmp_path / "fleet.db")


def test_the_journal_is_kept_and_read_from_any_number(store, tmp_path):
    """A reader that was away goes on from the last number that it had."""
    store.append([STARTED, COMMANDED])
    seen = store.last()
    store.append([event(Kind.COMMITTED)])
    again = FleetStore(tmp_path / "fleet.db")
    assert journal(again) == [STARTED, COMMANDED, event(Kind.COMMITTED)]
    assert [(line.number, line.event.kind) for line in again.events(seen)] == [(again.last(), Kind.COMMITTED)]
    assert again.events(again.last()) == []


def test_a_file_of_the_first_release_is_brought_up_and_keeps_its_lines(tmp_path):
    """Who updates the centre loses neither its sites nor its journal."""
    path = tmp_path / "fleet.db"
    with sqlite3.connect(path) as old:
        old.execute(SITES)
        old.execute(JOURNAL)
        old.execute("INSERT INTO sites VALUES ('TX01', 'k', '0.1.0', 's', '[]', '2026-01-01 00:00:00')")
        old.execute(
            "INSERT INTO journal VALUES (1, 'r0', 1, '', 'started', 'valve/1', '2026-01-01 00:00:00')"
        )
        old.execute("INSERT INTO journal VALUES (2, 'r0', 1, 'TX01', 'commanded', '', '2026-01-01 00:00:00')")
    old.close()
    for _ in range(2):  # the second time there is nothing to bring up
        store = FleetStore(path)
        assert store.audit_key("TX01") == "k"
        assert [e.rollout_id for e in outstanding(journal(store), "TX01")] == ["r0"]
    store.append([STARTED])
    assert store.last() == 3


def test_two_processes_that_open_a_new_file_make_it_once(tmp_path):
    """Console, fleet service and command line may start together."""
    stores = [FleetStore(tmp_path / "fleet.db") for _ in range(4)]
    threads = [threading.Thread(target=store.append, args=([COMMANDED],)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journal(stores[0]) == [COMMANDED] * 4


def test_who_decided_on_an_old_journal_is_told_so(store):
    """Of two starters, or a pause and a controller, the slower one has to look again."""
    store.append([STARTED])
    seen = store.last()
    store.append([event(Kind.PAUSED, site="")], after=seen)
    with pytest.raises(Retryable, match="went on"):
        store.append([event(Kind.RING, site="")], after=seen)
    assert [e.kind for e in journal(store)] == [Kind.STARTED, Kind.PAUSED]


def test_a_repeated_answer_is_not_written_again(store):
    """A site says at each reconnect where it is; the journal grows only with what is new."""
    said = [event(Kind.TRYING), event(Kind.COMMITTED), event(Kind.COMMITTED), event(Kind.ROLLED_BACK)]
    store.append(said)
    store.append([event(Kind.ROLLED_BACK), event(Kind.ROLLED_BACK, generation=2)])
    kinds = [(e.kind, e.generation) for e in journal(store)]
    assert kinds == [
        (Kind.TRYING, 1), (Kind.COMMITTED, 1), (Kind.ROLLED_BACK, 1), (Kind.ROLLED_BACK, 2)
    ]  # fmt: skip


def test_only_the_newest_health_report_stays_and_a_follower_misses_none(store):
    """Thousands of reports leave one line a site and command; each has a number above all before it."""
    follower, seen = 0, []
    for windows in range(5):
        store.append([event(Kind.HEALTH, detail=str(windows)), event(Kind.HEALTH, site="ID01")])
        new = store.events(follower)
        seen += [line.event.detail for line in new if line.event.site == "TX01"]
        follower = new[-1].number
    assert seen == ["0", "1", "2", "3", "4"]
    assert journal(store) == [event(Kind.HEALTH, detail="4"), event(Kind.HEALTH, site="ID01")]


def test_a_command_stands_until_it_is_answered_for_good():
    assert outstanding([STARTED, COMMANDED], "TX01") == [COMMANDED]
    assert outstanding([STARTED, COMMANDED], "ID01") == []
    for answer in (Kind.TRYING, Kind.HELD):
        assert outstanding([STARTED, COMMANDED, event(answer)], "TX01") == [COMMANDED]
    for answer in (Kind.COMMITTED, Kind.REFUSED, Kind.ROLLED_BACK):
        assert outstanding([STARTED, COMMANDED, event(answer)], "TX01") == []
        assert outstanding([STARTED, COMMANDED, event(answer, generation=2)], "TX01") == [COMMANDED]


def test_a_site_that_was_away_gets_only_what_still_applies():
    """Of one component type the newest command counts, of another its own."""
    other = event(Kind.STARTED, site="", rollout="r2", detail='{"release": "v/1", "component_type": "valve"}')
    valve = event(Kind.COMMANDED, rollout="r2")
    third = event(Kind.STARTED, site="", rollout="r3", detail="pump/3")  # as the first release wrote it
    newer = event(Kind.COMMANDED, rollout="r3", generation=2)
    back = event(Kind.COMMANDED, rollout="r3", generation=3)
    lines = [STARTED, COMMANDED, other, valve]
    assert outstanding(lines, "TX01") == [COMMANDED, valve]
    assert outstanding([*lines, third, newer], "TX01") == [valve, newer]
    assert outstanding([*lines, third, newer, back], "TX01") == [valve, back]
    assert outstanding(
        [*lines, third, newer, back, event(Kind.COMMITTED, rollout="r3", generation=3)], "TX01"
    ) == [valve]


def test_an_acknowledgement_becomes_the_line_of_its_state():
    """Each state of the protocol but the unset one has its kind; a long reason is cut."""
    states = fleet_pb2.Acknowledgement.State
    for name in states.keys()[1:]:
        answer = fleet_pb2.Acknowledgement(
            rollout_id="r", generation=7, state=states.Value(name), detail="why"
        )
        assert answer_event("TX01", answer, NOW) == Event("r", 7, "TX01", Kind(name.lower()), "why", NOW)
    long = fleet_pb2.Acknowledgement(state=states.REFUSED, detail="x" * 10_000)
    assert len(answer_event("TX01", long, NOW).detail) == DETAIL_CHARS_MAX
    with pytest.raises(Rejected, match="state 0"):
        answer_event("TX01", fleet_pb2.Acknowledgement(), NOW)


def test_a_health_report_goes_through_the_journal():
    """Where there was no model before, there is no shift: not a number becomes none."""
    report = fleet_pb2.HealthReport(
        rollout_id="r", generation=7, state=fleet_pb2.Acknowledgement.TRYING, windows=3, latency_p99_ms=2.5,
        shift=float("nan"),
    )  # fmt: skip
    line = health_event("TX01", report, NOW)
    assert line[:4] == ("r", 7, "TX01", Kind.HEALTH)
    health = Health.model_validate_json(line.detail)
    assert (health.state, health.windows, health.latency_p99_ms, health.shift) == (Kind.TRYING, 3, 2.5, None)
    with pytest.raises(Rejected, match="state 0"):
        health_event("TX01", fleet_pb2.HealthReport(), NOW)


def test_a_site_keeps_the_audit_key_it_first_came_with(store):
    """Another key is another machine, until an engineer says otherwise."""
    store.seen("TX01", "key 1", "0.1.0", "store", [])
    store.seen("TX01", "key 1", "0.2.0", "store", [{"name": "pump"}])
    with pytest.raises(Rejected, match="another audit key"):
        store.seen("TX01", "key 2", "0.1.0", "store", [])
    [site] = store.sites()
    assert (site["audit_key"], site["agent_version"], site["models"]) == (
        "key 1",
        "0.2.0",
        [{"name": "pump"}],
    )
    assert store.audit_key("ID01") is None
