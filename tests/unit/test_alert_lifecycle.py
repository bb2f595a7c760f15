"""An alert's life at the centre: ISA-18.2's states, whatever order the news of it comes in."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.alerts.calls import NoticeKind, calls
from control_plane.alerts.lifecycle import Transition, settled, step
from shared.errors import Rejected
from shared.schemas import Alert, AlertState, ComponentId

PUMP = ComponentId("TX01", "R1", "coolant_pump")
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def at(second):
    return NOW + timedelta(seconds=second)


def transition(state, second, alert_id="a", severity="alarm", seq=None, by_centre=False, **more):
    settings = {"kind": "anomaly", "subject": "anomaly", "message": "score 7.4"} | more
    alert = Alert(
        timestamp=at(second), **PUMP._asdict(), alert_id=alert_id, severity=severity, state=state, **settings
    )
    return Transition(alert=alert, seq=second if seq is None else seq, by_centre=by_centre)


def status(alarms, alert_id="a"):
    return alarms[alert_id].status.value


def acknowledged(alarms, second, alert_id="a", seen=None):
    return settled(alarms | {alert_id: alarms[alert_id].acknowledge("A. Reyes", "seen", at(second), seen)})


def test_an_alert_is_raised_acknowledged_and_cleared():
    alarms = step({}, [transition("raised", 1)])
    assert status(alarms) == "raised"
    alarms = acknowledged(alarms, 2)
    assert status(alarms) == "acknowledged"
    assert status(step(alarms, [transition("cleared", 3)])) == "cleared"


def test_what_is_normal_again_before_anybody_saw_it_waits_to_be_acknowledged():
    """ISA-18.2: returned to normal, unacknowledged."""
    alarms = step({}, [transition("raised", 1), transition("cleared", 2)])
    assert status(alarms) == "returned_unacknowledged"
    assert status(acknowledged(alarms, 3)) == "cleared"


@pytest.mark.parametrize("again", ["raised", "escalated"])
def test_an_acknowledgement_does_not_cover_what_comes_after_it(again):
    alarms = acknowledged(step({}, [transition("raised", 1, severity="warning")]), 2)
    assert status(step(alarms, [transition(again, 3)])) == "raised"


def test_an_escalation_that_comes_late_is_not_covered_by_what_was_acknowledged_without_it():
    """The order of events counts, not the order of their arrival."""
    raised, escalated = transition("raised", 1, severity="warning"), transition("escalated", 5)
    alarms = acknowledged(step({}, [raised]), 9)
    assert status(step(alarms, [escalated])) == "raised"


def test_unshelving_asks_for_no_second_acknowledgement():
    alarms = acknowledged(step({}, [transition("raised", 1)]), 2)
    alarms = step(alarms, [transition("shelved", 3, operator="B. Ito")])
    assert status(alarms) == "shelved"
    assert status(step(alarms, [transition("unshelved", 4)])) == "acknowledged"


def test_an_operators_reset_at_the_site_acknowledges():
    alarms = step({}, [transition("raised", 1), transition("returned", 2)])
    assert status(alarms) == "returned"
    alarms = step(alarms, [transition("cleared", 3, operator="B. Ito", reason="bearing greased")])
    assert status(alarms) == "cleared"
    assert alarms["a"].acknowledgement.who == "B. Ito"


def test_a_late_raising_of_what_has_cleared_raises_nothing():
    """The clearing came first: the alert is over, and its raising only waits to be acknowledged."""
    alarms = step({}, [transition("cleared", 5)])
    assert status(alarms) == "cleared"
    assert status(step(alarms, [transition("raised", 1)])) == "returned_unacknowledged"


def test_nothing_can_be_acknowledged_twice_or_after_its_end():
    alarms = acknowledged(step({}, [transition("raised", 1)]), 2)
    with pytest.raises(Rejected, match=r"A\. Reyes has acknowledged it at 2026-03-01 12:00:02"):
        acknowledged(alarms, 3)
    with pytest.raises(Rejected, match="has cleared"):
        acknowledged(step(alarms, [transition("cleared", 4)]), 5)


def test_what_grew_graver_since_the_person_looked_is_not_acknowledged_unseen():
    alarms = step({}, [transition("raised", 1, severity="warning"), transition("escalated", 5)])
    with pytest.raises(Rejected, match="escalated again at 12:00:05 UTC"):
        acknowledged(alarms, 6, seen=at(1))
    assert status(acknowledged(alarms, 6, seen=at(5))) == "acknowledged"


def test_one_alert_stands_for_one_thing_when_a_site_lost_its_state():
    alarms = step({}, [transition("raised", 1), transition("raised", 9, "b")])
    assert [status(alarms, name) for name in "ab"] == ["cleared", "raised"]


def test_the_centres_alert_gives_way_to_the_sites_own_while_that_stands():
    """De-duplicated across agent and centre; what only the centre still sees is not lost."""
    alarms = step({}, [transition("raised", 1), transition("raised", 2, "c", by_centre=True)])
    assert [alarms[name].hidden for name in "ac"] == [False, True]
    alarms = step(alarms, [transition("cleared", 3)])
    assert [alarms[name].hidden for name in "ac"] == [False, False]
    assert status(alarms, "c") == "raised"


# --- any order, any repeats -----------------------------------------------------------------------

ALERTS = st.sampled_from(["a", "b", "c"])  # c is the centre's
STATES = st.sampled_from(list(AlertState))


@st.composite
def histories(draw):
    """Transitions in the order of their time, and one order in which they may arrive, some twice."""
    count = draw(st.integers(1, 10))
    told = []
    for second in range(count):
        name = draw(ALERTS)
        severity = draw(st.sampled_from(["warning", "alarm"]))
        by = {"operator": draw(st.sampled_from([None, "B. Ito", "C. Wu"]))}  # of a clearing: it was a reset
        told.append(transition(draw(STATES), second, name, severity, by_centre=name == "c", **by))
    arrived = draw(st.permutations(told)) + draw(st.lists(st.sampled_from(told), max_size=4))
    return told, arrived


def in_batches(transitions, sizes):
    rest = list(transitions)
    for size in sizes:
        yield rest[:size]
        rest = rest[size:]
    yield rest


@settings(max_examples=150, deadline=None)
@given(histories(), st.lists(st.integers(0, 4), max_size=5))
def test_any_order_and_any_repeats_come_to_the_same(history, sizes):
    """Late, twice, out of order, in batches of any size: the list is what the site's order makes of it."""
    told, arrived = history
    alarms = {}
    for batch in in_batches(arrived, sizes):
        alarms = step(alarms, batch)
    assert alarms == step({}, told)


@settings(max_examples=150, deadline=None)
@given(histories(), st.data())
def test_an_acknowledgement_is_never_lost_and_covers_nothing_newer(history, data):
    """Interleaved with anything: who acknowledged stays, and a newer raising always waits for a person."""
    alarms, given_to = {}, {}
    for new in history[1]:
        alarms = step(alarms, [new])
        key = data.draw(st.sampled_from(sorted(alarms)))
        try:
            alarms = acknowledged(alarms, 100, key)
            given_to[key] = alarms[key].acknowledgement
        except Rejected:
            assert alarms[key].over or alarms[key].acknowledged
    for key, by in given_to.items():
        alarm = alarms[key]
        assert alarm.acknowledgement.through >= by.through
        newer = alarm.called is not None and alarm.called.order > alarm.acknowledgement.through
        assert alarm.acknowledged is not newer


@settings(max_examples=150, deadline=None)
@given(histories())
def test_what_is_known_already_calls_nobody(history):
    """A repeat after a kill tells nothing; an end is told only of what was told; nobody waits unheard."""
    alarms = {}
    for new in history[1]:
        after, found = calls(alarms, step(alarms, [new]))
        assert calls(after, step(after, [new])) == (after, [])
        assert all(alarms[a.alert_id].told for kind, a in found if kind is NoticeKind.CLEARED)
        alarms = after
        assert any(a.told for a in alarms.values() if a.calling) or not any(
            a.calling for a in alarms.values()
        )


# --- who is called --------------------------------------------------------------------------------


def told(before, transitions):
    after, found = calls(before, step(before, transitions))
    return after, [(kind.value, alarm.alert_id) for kind, alarm in found]


def test_one_event_is_one_call():
    alarms, first = told({}, [transition("raised", 1, event_id="a")])
    part = {"event_id": "a", "kind": "rul_low", "subject": "rul"}
    alarms, second = told(alarms, [transition("raised", 2, "b", **part)])
    assert (first, second) == ([("raised", "a")], [])


def test_a_part_calls_when_nobody_waits_for_its_event_any_more():
    alarms, _ = told({}, [transition("raised", 1, event_id="a")])
    part = {"event_id": "a", "kind": "rul_low", "subject": "rul"}
    alarms, _ = told(alarms, [transition("raised", 2, "b", **part)])
    assert told(alarms, [transition("cleared", 3)])[1] == [("cleared", "a"), ("raised", "b")]


def test_a_graver_part_of_an_event_calls_again():
    alarms, _ = told({}, [transition("raised", 1, severity="warning", event_id="a")])
    part = {"event_id": "a", "kind": "rul_low", "subject": "rul"}
    assert told(alarms, [transition("raised", 2, "b", **part)])[1] == [("raised", "b")]


def test_escalation_acknowledgement_and_end_are_told():
    alarms, _ = told({}, [transition("raised", 1, severity="warning")])
    alarms, found = told(alarms, [transition("escalated", 2)])
    assert found == [("escalated", "a")]
    alarms, found = calls(alarms, acknowledged(alarms, 3))
    assert [kind.value for kind, _ in found] == ["acknowledged"]
    assert told(alarms, [transition("cleared", 4)])[1] == [("cleared", "a")]


def test_nobody_is_called_for_what_was_normal_again_when_the_news_came():
    alarms, found = told({}, [transition("raised", 1), transition("cleared", 2)])
    assert (status(alarms), found) == ("returned_unacknowledged", [])


def test_a_site_that_raises_the_same_anew_calls_nobody_twice_and_its_end_is_told():
    alarms, _ = told({}, [transition("raised", 1)])
    alarms, found = told(alarms, [transition("raised", 9, "b")])
    assert found == []
    assert told(alarms, [transition("cleared", 10, "b")])[1] == [("cleared", "b")]
