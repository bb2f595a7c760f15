"""When a run waits for more windows: only where that brings some, so that nobody pays for company in vain."""

from control_plane.serving import company as rules
from control_plane.serving.company import Company

CALLERS = 6


def run(company, arrivals=()):
    """One run with its first window there and so many more by each pause; how many it has, and its pauses."""
    company.begin()
    there, pauses, more = 1, 0, [*arrivals]
    while company.wait_s(there):  # the engine asks with each newcomer too, but only whether all are there
        pauses += 1
        there += more.pop(0) if more else 0
    return there, pauses


def among(company, runs):
    """Runs where five more callers come, one by each pause."""
    return [run(company, [1] * (CALLERS - 1)) for _ in range(runs)]


def test_who_is_alone_waits_in_vain_only_when_it_is_tried():
    """A lone caller's answer comes at once but for one try in `TRIED_EVERY` runs."""
    company = Company()
    runs = [run(company) for _ in range(4 * rules.TRIED_EVERY)]
    waited = [n for n, (_, pauses) in enumerate(runs, 1) if pauses]
    assert waited == [rules.TRIED_EVERY * n for n in (1, 2, 3, 4)]


def test_where_company_comes_runs_wait_for_all_of_it_and_no_longer():
    """Callers of the same moment reach the engine one by one; a run is soon made of all of them, at once."""
    company = Company()
    among(company, rules.TRIED_EVERY)
    assert set(among(company, rules.TRIED_EVERY - 1)) == {(CALLERS, CALLERS - 1)}


def test_where_company_stays_away_one_run_waits_for_it_and_no_more():
    """The crowd is gone: its last caller doesn't go on waiting for it."""
    company = Company()
    among(company, rules.TRIED_EVERY)
    assert run(company) == (1, rules.QUIET_PAUSES)
    assert [run(company) for _ in range(rules.TRIED_EVERY - 2)] == [(1, 0)] * (rules.TRIED_EVERY - 2)


def test_a_crowd_that_grows_is_found_by_the_next_try():
    """Runs that begin as soon as those are there who are known would never find the others."""
    company = Company()
    while run(company, [2])[0] < 3:
        pass
    assert run(company, [2, 3]) == (3, 1)
    for _ in range(rules.TRIED_EVERY):
        run(company, [2, 3])
    assert run(company, [2, 3]) == (CALLERS, 2)


def test_two_callers_do_not_wait_for_each_other():
    """Two windows are run one by one even when they are together."""
    company = Company()
    runs = [run(company, [1]) for _ in range(2 * rules.TRIED_EVERY)]
    assert sum(bool(pauses) for _, pauses in runs) == 2
