"""What the fleet service keeps of sites and journal, and what an agent keeps for its centre: bounded."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.release.journal import Event, Kind, Numbered, outstanding
from control_plane.rpc.lines import ANSWERS_MAX, Answers, Commands
from edge_agent.update import FleetClient
from edge_agent.update.fleet_client import OUTGOING_MAX
from shared.wire import fleet_pb2

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SITES, ROLLOUTS = ("TX01", "ID01"), ("r1", "r2", "r3")
ROLLOUT_KINDS = {"r1": "pump", "r2": "pump", "r3": "valve"}
STARTED = [Event(each, 0, "", Kind.STARTED, f"{kind}/1", NOW) for each, kind in ROLLOUT_KINDS.items()]


def event(rollout: str, generation: int, site: str, kind: Kind, detail: str = "") -> Event:
    return Event(rollout, generation, site, kind, detail, NOW)


@st.composite
def journals(draw):
    """Commands with rising generations, and answers to them in any order after them."""
    events = list(STARTED)
    generation = 0
    for _ in range(draw(st.integers(0, 25))):
        commanded = [e for e in events if e.kind is Kind.COMMANDED]
        if commanded and draw(st.booleans()):
            e = draw(st.sampled_from(commanded))
            kind = draw(
                st.sampled_from([Kind.TRYING, Kind.COMMITTED, Kind.REFUSED, Kind.ROLLED_BACK, Kind.HELD])
            )
            events.append(e._replace(kind=kind))
        else:
            generation += 1
            rollout, site = draw(st.sampled_from(ROLLOUTS)), draw(st.sampled_from(SITES))
            events.append(event(rollout, generation, site, Kind.COMMANDED))
    return events


@given(journals())
def test_commands_followed_line_by_line_are_those_of_the_whole_journal(events):
    """The follower forgets what is answered; what is left is what `outstanding` finds in everything."""
    commands = Commands()
    for number, each in enumerate(events, 1):
        commands.take(Numbered(number, each))
        for site in SITES:
            assert commands.of(site) == outstanding(events[:number], site)
    assert commands.number == len(events)


def test_answered_commands_are_not_remembered():
    """A fleet that has answered everything costs no memory."""
    commands = Commands()
    for number in range(200):
        commands.take(Numbered(2 * number, event("r1", number, "TX01", Kind.COMMANDED)))
        commands.take(Numbered(2 * number + 1, event("r1", number, "TX01", Kind.COMMITTED)))
    assert commands._newest == {}


def test_answers_keep_the_newest_health_and_every_other_word_in_order():
    """Health covers all before it; each change of state is a line of its own."""
    answers = Answers()
    for each in (
        event("r1", 1, "TX01", Kind.TRYING),
        event("r1", 1, "TX01", Kind.HEALTH, "old"),
        event("r1", 1, "TX01", Kind.HEALTH, "new"),
        event("r1", 1, "TX01", Kind.COMMITTED),
        event("r1", 1, "ID01", Kind.HEALTH, "other"),
    ):
        answers.add(each)
    taken = [(e.site, e.kind, e.detail) for e in answers.take()]
    assert taken == [
        ("TX01", Kind.TRYING, ""), ("TX01", Kind.HEALTH, "new"), ("TX01", Kind.COMMITTED, ""),
        ("ID01", Kind.HEALTH, "other"),
    ]  # fmt: skip
    assert answers.take() == []


@pytest.mark.parametrize("kind", [Kind.TRYING, Kind.HEALTH])
def test_a_site_that_talks_without_end_is_not_listened_to_meanwhile(kind):
    """So much of one site is kept, and another site is not held up."""
    answers = Answers()
    for generation in range(ANSWERS_MAX):
        assert not answers.full("TX01")
        answers.add(event("r1", generation, "TX01", kind))
    assert answers.full("TX01")
    assert not answers.full("ID01")


def client() -> FleetClient:
    return FleetClient("127.0.0.1:1", fleet_pb2.Hello, None, None)


def message(kind: str, generation: int) -> fleet_pb2.SiteMessage:
    if kind == "health":
        return fleet_pb2.SiteMessage(health=fleet_pb2.HealthReport(generation=generation))
    return fleet_pb2.SiteMessage(acknowledgement=fleet_pb2.Acknowledgement(generation=generation))


@given(st.lists(st.sampled_from(["health", "answer"]), max_size=3 * OUTGOING_MAX))
def test_what_waits_for_the_centre_is_bounded_and_keeps_its_order(kinds):
    """However much is said while it is away."""
    told = client()
    for number, kind in enumerate(kinds):
        told.send(message(kind, number))
    kept = list(told._outgoing)
    answers = [m.acknowledgement.generation for m in kept if m.WhichOneof("kind") == "acknowledgement"]
    healths = [m.health.generation for m in kept if m.WhichOneof("kind") == "health"]
    assert len(kept) == min(len(kinds), OUTGOING_MAX)
    assert answers == sorted(answers)
    assert healths == sorted(healths)


def test_an_answer_outlives_any_number_of_health_reports():
    """What a site has committed is told once the centre is back; reports of the meantime need not be."""
    told = client()
    told.send(message("answer", 7))
    for number in range(3 * OUTGOING_MAX):
        told.send(message("health", number))
    assert told._outgoing[0].acknowledgement.generation == 7
    assert told._outgoing[-1].health.generation == 3 * OUTGOING_MAX - 1
