"""Polls keep their pace whatever the wall clock does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.schedule import PollSchedule

START = 1_790_000_000.3


class Clocks:
    """A wall clock that can be set and a monotonic one that cannot."""

    def __init__(self) -> None:
        self.now, self.offset = 1_000.0, START - 1_000.0

    def wall(self) -> float:
        return self.now + self.offset

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def schedule_of(clocks: Clocks, period_s: float = 1.0) -> PollSchedule:
    return PollSchedule(period_s, clocks.wall, clocks.monotonic)


def poll(clocks: Clocks, schedule: PollSchedule, takes_s: float = 0.1) -> tuple[float, int]:
    """Wait and poll: when it began, and how many were missed."""
    while wait_s := schedule.wait_s():
        clocks.now += min(wait_s, 1.0)
    began = clocks.now
    _, missed = schedule.begin()
    clocks.now += takes_s
    return began, missed + schedule.end()


def test_polls_begin_on_the_wall_clocks_multiples(clocks):
    """The plant's cycles lie halfway between them."""
    schedule = schedule_of(clocks, 0.5)
    starts = [poll(clocks, schedule)[0] + clocks.offset for _ in range(5)]
    assert starts == pytest.approx([START + 0.2 + 0.5 * n for n in range(5)], abs=1e-5)


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0, -86_400.25, 0.4])
def test_a_clock_that_is_set_neither_stops_polls_nor_counts_missed_ones(clocks, step_s):
    """The next poll comes within one and a half periods, on a multiple again; none is missed."""
    schedule = schedule_of(clocks)
    last, _ = poll(clocks, schedule)
    clocks.offset += step_s
    began, missed = poll(clocks, schedule)
    assert 0.5 - 1e-6 <= began - last <= 1.5 + 1e-6
    assert missed == 0
    assert (began + clocks.offset) % 1.0 == pytest.approx(0.0, abs=1e-5)
    assert schedule.take_step_s() == pytest.approx(step_s)
    assert schedule.take_step_s() == 0.0


def test_a_clock_set_in_mid_wait_is_seen_before_the_next_poll(clocks):
    """A long period does not wait it out: the wait is looked at again."""
    schedule = schedule_of(clocks, 600.0)
    last, _ = poll(clocks, schedule)
    clocks.now += 100
    clocks.offset += 7_200.0
    began, missed = poll(clocks, schedule)
    assert 300 <= began - last <= 900
    assert missed == 0


def test_a_poll_that_runs_over_skips_and_says_so(clocks):
    """A poll of 2.3 periods costs two others; the next begins on its multiple, not late."""
    schedule = schedule_of(clocks)
    began, missed = poll(clocks, schedule, takes_s=2.3)
    assert missed == 2
    after, missed = poll(clocks, schedule)
    assert after - began == pytest.approx(3.0, abs=1e-5)
    assert missed == 0


def test_a_process_that_was_stopped_counts_what_it_missed(clocks):
    schedule = schedule_of(clocks)
    poll(clocks, schedule)
    clocks.now += 10.0
    assert poll(clocks, schedule)[1] == 9


def test_a_clock_that_is_steered_is_no_step(clocks):
    """500 ppm for an hour of polls: followed, never reported."""
    schedule = schedule_of(clocks)
    for _ in range(3600):
        poll(clocks, schedule)
        clocks.offset += 0.0005
    assert schedule.take_step_s() == 0.0
    began, _ = poll(clocks, schedule)
    assert (began + clocks.offset) % 1.0 == pytest.approx(0.0, abs=1e-5)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0.0, 0.4)), max_size=40))
def test_no_history_of_steps_moves_a_poll_by_more_than_half_a_period(history):
    """Polls that take less than half a period: 0.5 to 1.5 periods apart, none missed."""
    clocks = Clocks()
    schedule = schedule_of(clocks)
    last, _ = poll(clocks, schedule)
    for step_s, takes_s in history:
        clocks.offset += step_s
        began, missed = poll(clocks, schedule, takes_s)
        assert 0.5 - 1e-3 <= began - last <= 1.5 + 1e-3
        assert missed == 0
        last = began
