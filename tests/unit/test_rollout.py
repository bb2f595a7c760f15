"""The roll-out's state is a pure function of its journal."""

from datetime import UTC, datetime

from control_plane.release.journal import Event, Kind
from control_plane.release.rollout import states

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def event(kind, site="TX01", rollout="r1", generation=1, detail=""):
    return Event(rollout, generation, site, kind, detail, NOW)


def journal(store):
    return [line.event for line in store.events()]


STARTED = event(Kind.STARTED, site="", detail="pump/1")
COMMANDED = event(Kind.COMMANDED)


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
