"""The roll-out's state is a pure function of its journal."""

from datetime import UTC, datetime

import pytest

from control_plane.release.fleet_store import FleetStore
from control_plane.release.rollout import Event, Kind, outstanding, states
from shared.errors import Rejected

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def event(kind, site="TX01", rollout="r1", generation=1, detail=""):
    return Event(rollout, generation, site, kind, detail, NOW)


STARTED = event(Kind.STARTED, site="", detail="pump/1")
COMMANDED = event(Kind.COMMANDED)


def test_a_command_stands_until_it_is_answered():
    assert outstanding([STARTED, COMMANDED], "TX01") == [COMMANDED]
    assert outstanding([STARTED, COMMANDED], "ID01") == []
    for answer in (Kind.COMMITTED, Kind.REFUSED):
        assert outstanding([STARTED, COMMANDED, event(answer)], "TX01") == []


def test_done_is_every_site_committed():
    journal = [STARTED, COMMANDED, event(Kind.COMMANDED, site="ID01"), event(Kind.COMMITTED)]
    assert not states(journal)["r1"].done
    assert not states([*journal, event(Kind.REFUSED, site="ID01")])["r1"].done
    assert states([*journal, event(Kind.COMMITTED, site="ID01")])["r1"].done


def test_an_answer_counts_only_for_what_was_commanded():
    journal = [STARTED, COMMANDED]
    for stray in (
        event(Kind.COMMITTED, generation=2),
        event(Kind.COMMITTED, rollout="other"),
        event(Kind.COMMITTED, site="ID01"),
    ):
        assert states([*journal, stray]) == states(journal)


def test_a_second_roll_out_stands_beside_the_first():
    second = [
        event(Kind.STARTED, site="", rollout="r2", generation=2, detail="pump/2"),
        event(Kind.COMMANDED, rollout="r2", generation=2),
    ]
    journal = [STARTED, COMMANDED, *second]
    assert [e.rollout_id for e in outstanding(journal, "TX01")] == ["r1", "r2"]


def test_the_journal_is_kept(tmp_path):
    FleetStore(tmp_path / "fleet.db").append([STARTED, COMMANDED])
    assert FleetStore(tmp_path / "fleet.db").events() == [STARTED, COMMANDED]


def test_a_site_keeps_the_audit_key_it_first_came_with(tmp_path):
    store = FleetStore(tmp_path / "fleet.db")
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
