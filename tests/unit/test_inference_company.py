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


def test_where_company_stays_away_fewer_are_waited_for_each_time_and_soon_nobody():
    """The crowd is gone: its last caller waits for half of it, for a quarter, then no more."""
    company = Company()
    among(company, rules.TRIED_EVERY)
    alone = [run(company) for _ in range(rules.TRIED_EVERY - 1)]
    assert alone == [(1, rules.QUIET_PAUSES)] * 2 + [(1, 0)] * (rules.TRIED_EVERY - 3)


def test_one_run_that_nobody_joined_does_not_end_the_company():
    """Where processes wait for a core, the others may be late once."""
    company = Company()
    among(company, rules.TRIED_EVERY)
    run(company)
    assert run(company, [1] * (CALLERS - 1)) == (CALLERS // 2, CALLERS // 2 - 1)


def test_a_crowd_that_fills_a_run_is_found_too():
    """More than a block gain nothing; that many are waited for."""
    company = Company()
    runs = [run(company, [5] * 9) for _ in range(2 * rules.TRIED_EVERY)]
    assert runs[: rules.TRIED_EVERY - 1] == [(1, 0)] * (rules.TRIED_EVERY - 1)
    assert set(runs[rules.TRIED_EVERY - 1 :]) == {(rules.CROWD_MAX, 3)}


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
