"""When a run waits for more windows: only where that brings some, so that nobody pays for company in vain."""

from types import SimpleNamespace

import pytest

from control_plane.serving import company as rules
from control_plane.serving.company import Company


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = SimpleNamespace(s=100.0)
    monkeypatch.setattr(rules, "time", SimpleNamespace(monotonic=lambda: now.s))
    return now


def waited(company, clock, arrivals=()):
    """One run with its first window there, and a turn of the loop for each more; whether it waited at all."""
    company.begin()
    waits = company.expected(there := 1)
    for _ in arrivals if waits else ():
        clock.s += rules.QUIET_S_MAX / 2
        assert company.expected(there := there + 1)  # as long as somebody comes
    if waits:
        clock.s += rules.QUIET_S_MAX
        assert not company.expected(there)
    return waits


def test_who_is_alone_waits_in_vain_only_when_it_is_tried(clock):
    """A lone caller's answer comes at once but for one try in `TRIED_EVERY` runs."""
    company = Company()
    runs = [waited(company, clock) for _ in range(4 * rules.TRIED_EVERY)]
    assert [n + 1 for n, waits in enumerate(runs) if waits] == [rules.TRIED_EVERY * n for n in (1, 2, 3, 4)]


def test_where_company_comes_runs_wait_for_it(clock):
    """Callers of the same moment reach the engine a turn apart; a run is soon made of all of them."""
    company = Company()
    runs = [waited(company, clock, "abc") for _ in range(6 * rules.TRIED_EVERY)]
    assert all(runs[4 * rules.TRIED_EVERY :])


def test_where_company_stays_away_runs_soon_wait_no_more(clock):
    """The crowd is gone: its last caller doesn't go on waiting for it."""
    company = Company()
    while not all(waited(company, clock, "abc") for _ in range(10)):
        pass
    runs = [waited(company, clock) for _ in range(rules.TRIED_EVERY)]
    assert sum(runs[10:]) <= 1


def test_a_run_waits_no_longer_than_a_moment(clock):
    """Without a newcomer for `QUIET_S_MAX` the run begins."""
    company = Company()
    for _ in range(rules.TRIED_EVERY):
        company.begin()
    assert company.expected(1)
    clock.s += rules.QUIET_S_MAX * 0.9
    assert company.expected(1)
    clock.s += rules.QUIET_S_MAX * 0.2
    assert not company.expected(1)
