"""A stopped counter makes every tag stale; a stale number never looks live (invariant 3)."""

from edge_agent.sources.freshness import STALE_POLLS_MAX, FreshnessGuard
from shared.schemas import Quality, Telemetry, utc_now


def reading(cycle: int | None, component: str = "coolant_pump") -> Telemetry:
    return Telemetry(
        timestamp=utc_now(),
        site_id="TX01",
        reactor_id="R1",
        component=component,
        cycle=cycle,
        metrics={"flow_rate": 1.0},
        quality={"vibration_rms": Quality.TIMEOUT},
    )


def test_new_cycle_passes_and_its_repeat_does_not():
    """A cycle is taken once; so a slow plant is no run of equal rows."""
    guard = FreshnessGuard()
    first = reading(4)
    assert guard.check(first) is first
    assert guard.check(reading(4)) is None
    assert guard.check(reading(5)) is not None


def test_counter_that_stands_still_makes_every_tag_stale():
    """After five polls without a new cycle no number passes, each poll says so, until it moves again."""
    guard = FreshnessGuard()
    polls = [guard.check(reading(4)) for _ in range(STALE_POLLS_MAX + 3)]
    assert [poll is None for poll in polls] == [False] + [True] * (STALE_POLLS_MAX - 1) + [False] * 3
    for stale in polls[STALE_POLLS_MAX:]:
        assert stale.metrics == {}
        assert stale.quality == {"flow_rate": Quality.STALE, "vibration_rms": Quality.STALE}
    assert guard.check(reading(5)).metrics == {"flow_rate": 1.0}


def test_counter_that_goes_back_is_a_restart():
    """A device that starts again at 0 is fresh."""
    guard = FreshnessGuard()
    guard.check(reading(400))
    assert guard.check(reading(0)).metrics == {"flow_rate": 1.0}


def test_reading_without_a_counter_passes_and_changes_nothing():
    """An unread poll is no repeat, and does not count as one."""
    guard = FreshnessGuard()
    guard.check(reading(4))
    for _ in range(2 * STALE_POLLS_MAX):
        assert guard.check(reading(None)) is not None
    assert guard.check(reading(4)) is None


def test_components_are_judged_apart():
    """One stopped device makes no other one stale."""
    guard = FreshnessGuard()
    for cycle in range(2 * STALE_POLLS_MAX):
        guard.check(reading(4))
        assert guard.check(reading(cycle, "heat_exchanger")).metrics
