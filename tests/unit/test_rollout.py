"""Where a roll-out stands, what its gates say, what comes next: functions of journal and time."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from control_plane.release.journal import Event, Health, Kind
from control_plane.release.rollout import End, Rollouts, Verdict, started_detail, states
from control_plane.release.rollout_gate import gate, judge
from control_plane.release.rollout_plan import Limits, Plan, load_plan
from control_plane.release.rollout_steps import Back, Decide, Finish, Forward, Open, joins, plan
from shared.errors import ConfigError

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PLAN = Plan(
    canary=("TX01",), rings_percent=(), soak_s=600, answer_within_s=900, gate=Limits(windows_min=20)
)  # fmt: skip


def event(kind, site="TX01", rollout="r1", generation=1, detail="", after_s=0.0):
    return Event(rollout, generation, site, kind, detail, NOW + timedelta(seconds=after_s))


def at(after_s):
    return NOW + timedelta(seconds=after_s)


def said(kind, **told):
    return event(kind, site="", detail=json.dumps(told))


def begun(sites=("TX01", "ID01"), chosen=PLAN, rollout="r1", release="pump/2", whole_fleet=False):
    told = started_detail(release, "pump", chosen, "alice", whole_fleet)
    return [
        event(Kind.STARTED, "", rollout, 0, told),
        *(event(Kind.JOINED, site, rollout, 0) for site in sites),
    ]


def health(windows=100, site="TX01", state=Kind.COMMITTED, generation=1, **figures):
    fields = {
        "latency_p99_ms": 1.0,
        "not_finite_fraction": 0.0,
        "out_of_distribution_fraction": 0.0,
        "shift": 0.0,
    }
    report = Health(state=state, windows=windows, **(fields | figures))
    return event(Kind.HEALTH, site, generation=generation, detail=report.model_dump_json())


OPEN = said(Kind.RING, ring=0)
TOLD = event(Kind.COMMANDED, detail='{"release": "pump/2", "back": false}')
COMMITTED = event(Kind.COMMITTED, after_s=10)
CANARY = [*begun(), OPEN, TOLD]


def verdict(*lines, after_s=1000.0, ring=0):
    return gate(states([*CANARY, *lines])["r1"], ring, at(after_s))


# --- the gate table -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "found", "why"),
    [
        ([], "inconclusive", "late: no answer yet"),
        ([event(Kind.TRYING)], "inconclusive", "late: tries it"),
        ([event(Kind.HELD, detail="until Monday")], "inconclusive", "late: held by its people"),
        ([COMMITTED], "inconclusive", "late: no health report since it committed"),
        ([COMMITTED, health(19)], "inconclusive", "late: too few windows"),
        ([COMMITTED, health(state=Kind.TRYING)], "inconclusive", "late: no health report since it committed"),
        ([event(Kind.COMMITTED, after_s=500), health()], "inconclusive", "soaks"),
        ([COMMITTED, health(generation=2)], "inconclusive", "late: no health report since it committed"),
        ([event(Kind.COMMITTED, generation=2), health()], "inconclusive", "late: no answer yet"),
        ([COMMITTED, health()], "pass", "1 of 1 sites well"),
        ([COMMITTED, COMMITTED, health(), COMMITTED], "pass", "1 of 1 sites well"),
        ([COMMITTED, health(shift=None)], "pass", "1 of 1 sites well"),
        ([event(Kind.REFUSED, detail="golden window 3")], "fail", "refused: golden window 3"),
        ([COMMITTED, health(), event(Kind.ROLLED_BACK, detail="latency")], "fail", "rolled back: latency"),
        ([event(Kind.REFUSED, detail="hash"), COMMITTED, health()], "fail", "refused: hash"),
        ([COMMITTED, health(latency_p99_ms=300)], "fail", "p99 latency 300 ms, at most 250 ms"),
        ([COMMITTED, health(not_finite_fraction=0.1)], "fail", "0.1 of answers not finite, at most 0.01"),
        ([COMMITTED, health(out_of_distribution_fraction=0.3)], "fail", "0.3 of windows out of distribution"),
        ([COMMITTED, health(shift=0.41)], "fail", "RUL shifted by 0.41 of the horizon, at most 0.25"),
        ([event(Kind.TRYING), health(state=Kind.TRYING, shift=0.41)], "fail", "RUL shifted by 0.41"),
        ([COMMITTED, health(19, shift=0.41)], "inconclusive", "late: too few windows"),
    ],
)
def test_the_gate_of_a_canary(lines, found, why):
    """No data, too little, too early and another generation's all hold; a failure stays one."""
    result, text = verdict(*lines)
    assert result == found
    assert why in text


def test_a_site_left_behind_passes_only_where_the_plan_says_so_and_never_alone():
    """A ring of which nobody runs the release says nothing about it."""
    two = [
        *begun(chosen=PLAN.model_copy(update={"canary": ("TX01", "ID01"), "left_behind_max": 1})),
        OPEN,
        TOLD,
    ]
    two.append(event(Kind.COMMANDED, "ID01", detail="{}"))
    well = [COMMITTED, health()]
    assert gate(states([*two, *well])["r1"], 0, at(800))[0] is Verdict.INCONCLUSIVE  # it may still answer
    assert gate(states([*two, *well])["r1"], 0, at(1000)) == (Verdict.PASS, "1 of 2 sites well")
    held = [event(Kind.HELD, site) for site in ("TX01", "ID01")]
    assert gate(states([*two, *held])["r1"], 0, at(1000))[0] is Verdict.INCONCLUSIVE
    alone = [*two[:2], *two[3:5]]
    assert gate(states([*alone, event(Kind.HELD)])["r1"], 0, at(1000)) == (
        Verdict.INCONCLUSIVE,
        "no site of this ring runs it",
    )


def test_the_error_budget_is_counted_over_all_rings():
    """One other site may fail, two may not; the canary never."""
    sites = ("TX01", "ID01", "WY01", "NM01")
    lines = [*begun(sites), OPEN, TOLD, COMMITTED, health(), said(Kind.RING, ring=1)]
    lines += [event(Kind.COMMANDED, site, detail="{}") for site in sites[1:]]
    lines += [event(Kind.COMMITTED, site) for site in sites[1:]] + [health(site=site) for site in sites[1:]]
    one = [*lines, event(Kind.ROLLED_BACK, "ID01", detail="shift")]
    assert gate(states(one)["r1"], 1, at(1000)) == (Verdict.PASS, "2 of 3 sites well")
    two = [*one, event(Kind.ROLLED_BACK, "WY01", detail="shift")]
    found, why = gate(states(two)["r1"], 1, at(1000))
    assert (found, why.partition(":")[0]) == (Verdict.FAIL, "2 sites failed, at most 1 may")
    late_canary = [*lines, event(Kind.ROLLED_BACK, detail="at night")]
    assert "canary failed: TX01 (rolled back: at night)" in gate(states(late_canary)["r1"], 1, at(1000))[1]


# --- what comes next ------------------------------------------------------------------------------


def test_a_roll_out_goes_canary_gate_fleet_done():
    lines = begun()
    assert plan(lines, NOW) == [Open("r1", 0)]
    lines += [OPEN]
    assert plan(lines, NOW) == [
        Forward("r1", "TX01"),
        Decide("r1", 0, Verdict.INCONCLUSIVE, "not commanded yet"),
    ]
    lines += [TOLD, said(Kind.GATE, ring=0, verdict="inconclusive", why="no answer yet")]
    assert plan(lines, NOW) == []  # nothing new to say
    lines += [COMMITTED, health()]
    assert plan(lines, at(1000)) == [Decide("r1", 0, Verdict.PASS, "1 of 1 sites well"), Open("r1", 1)]
    lines += [said(Kind.GATE, ring=0, verdict="pass", why="1 of 1 sites well"), said(Kind.RING, ring=1)]
    assert plan(lines, at(1000))[0] == Forward("r1", "ID01")
    lines += [event(Kind.COMMANDED, "ID01", detail="{}"), event(Kind.COMMITTED, "ID01"), health(site="ID01")]
    assert plan(lines, at(2000))[-1] == Finish("r1", End.COMPLETED)
    lines += [event(Kind.DONE, "", detail="completed")]
    assert plan(lines, at(2000)) == []
    assert states(lines)["r1"].state == "completed"


def test_a_failed_canary_goes_back_by_itself_and_frees_the_type():
    """argo-rollouts 1411 and 504: a failed analysis stops it, and there is a way back without a template."""
    lines = [*CANARY, event(Kind.ROLLED_BACK, detail="shift")]
    [decision] = plan(lines, NOW)
    assert isinstance(decision, Decide)
    assert decision.verdict is Verdict.FAIL
    lines += [said(Kind.GATE, ring=0, verdict="fail", why=decision.why)]
    assert plan(lines, NOW) == [Back("r1", "TX01")]
    lines += [event(Kind.COMMANDED, generation=2, detail='{"release": "pump/1", "back": true}')]
    assert plan(lines, NOW) == [Finish("r1", End.ROLLED_BACK)]
    assert states(lines)["r1"].sites["TX01"].where == "going_back"
    assert states(lines)["r1"].sites["TX01"].failure == "shift"
    lines += [event(Kind.COMMITTED, generation=2)]
    assert states(lines)["r1"].sites["TX01"].where == "back"
    assert states(lines)["r1"].sites["ID01"].where == "waiting"


def test_a_site_that_never_answers_holds_its_ring_but_not_the_way_back():
    """greengrass 1161: stuck in progress must not block everything after it."""
    stuck = [*CANARY, said(Kind.ABORTED, by="alice", why="stuck")]
    assert plan(stuck, at(1e6)) == [Back("r1", "TX01")]
    told = [*stuck, event(Kind.COMMANDED, generation=2, detail='{"release": "pump/1", "back": true}')]
    assert plan(told, at(1e6)) == [Finish("r1", End.ROLLED_BACK)]  # without its answer


def test_two_failures_in_one_tick_do_not_undo_a_pause():
    """hawkbit 2161: what fails while it is paused goes back; the pause is still there."""
    sites = ("TX01", "ID01", "WY01", "NM01")
    lines = [*begun(sites), OPEN, TOLD, COMMITTED, health(), said(Kind.RING, ring=1)]
    lines += [event(Kind.COMMANDED, site, detail="{}") for site in sites[1:3]]
    lines += [said(Kind.PAUSED, by="alice", why="")]
    assert plan(lines, at(1000)) == []  # NM01 waits, and no gate is decided
    lines += [event(Kind.REFUSED, "ID01", detail="hash"), event(Kind.REFUSED, "WY01", detail="hash")]
    [decision] = plan(lines, at(1000))
    assert decision.verdict is Verdict.FAIL
    lines += [said(Kind.GATE, ring=1, verdict="fail", why=decision.why)]
    assert {type(action) for action in plan(lines, at(1000))} == {Back}
    assert states(lines)["r1"].paused == "alice"


def test_a_promotion_passes_an_inconclusive_gate_and_nothing_else():
    """hawkbit 1853: nobody's word marks a ring as finished that failed, or that is paused."""
    promoted = said(Kind.PROMOTED, by="alice", why="ID01 is down", ring=0)
    waiting = [*CANARY, COMMITTED]
    assert Open("r1", 1) in plan([*waiting, promoted], NOW)
    assert plan([*waiting, promoted, said(Kind.PAUSED, by="bob", why="")], NOW) == []
    paused = [*waiting, said(Kind.PAUSED, by="bob", why=""), promoted, said(Kind.RESUMED, by="bob", why="")]
    assert Open("r1", 1) not in plan(paused, NOW)
    failed = [*waiting, event(Kind.ROLLED_BACK, detail="shift"), promoted]
    assert [type(action) for action in plan(failed, NOW)] == [Decide]


def test_a_word_on_the_command_before_counts_for_nothing():
    """argo-rollouts 2897: a stale result is not reused after the next command."""
    back = event(Kind.COMMANDED, generation=2, detail='{"release": "pump/1", "back": true}')
    lines = [*CANARY, said(Kind.ABORTED, by="alice", why=""), back]
    late = [event(Kind.COMMITTED), health(), event(Kind.ROLLED_BACK), event(Kind.COMMITTED, generation=3)]
    assert states([*lines, *late]) == states(lines)


def test_a_site_that_was_never_commanded_has_nothing_to_answer():
    lines = [*begun(), OPEN]
    early = [event(kind, generation=n) for kind in (Kind.ROLLED_BACK, Kind.COMMITTED) for n in (0, 1)]
    assert states([*lines, *early]) == states(lines)


def test_an_older_command_that_arrives_late_replaces_nothing():
    lines = [*CANARY, event(Kind.COMMANDED, generation=5, detail='{"release": "pump/1", "back": true}')]
    assert states([*lines, TOLD]) == states(lines)


def test_a_site_waits_for_its_maintenance_window_on_the_way_out_but_not_back():
    chosen = PLAN.model_copy(update={"maintenance_utc": {"TX01": ("22:00-02:00",)}})
    lines = [*begun(chosen=chosen), OPEN]
    [decision] = plan(lines, NOW)
    assert decision.why == "waits for its maintenance window"
    assert Forward("r1", "TX01") in plan(lines, NOW.replace(hour=23))
    assert Forward("r1", "TX01") in plan(lines, NOW.replace(hour=1))
    lines += [TOLD, event(Kind.REFUSED, detail="hash"), said(Kind.GATE, ring=0, verdict="fail", why="x")]
    assert plan(lines, NOW) == [Back("r1", "TX01")]


def test_a_late_joiner_takes_part_in_what_is_under_way_or_was_completed_last():
    """A site that is enrolled on Tuesday runs what the fleet runs; never what was rolled back."""
    running = [*begun(whole_fleet=True), OPEN]
    known = ("TX01", "ID01", "WY01")
    rollout = states(running)["r1"]
    assert joins(Rollouts(running), known) == [(rollout, "WY01")]
    joined = [*running, event(Kind.JOINED, "WY01", generation=0)]
    assert joins(Rollouts(joined), known) == []
    assert Forward("r1", "WY01") not in plan(joined, NOW)  # its ring is not open
    done = [*joined, said(Kind.RING, ring=1), event(Kind.DONE, "", detail="completed")]
    assert Forward("r1", "WY01") in plan(done, NOW)
    second = begun(rollout="r2", release="pump/3", whole_fleet=True)
    assert [(r.rollout_id, s) for r, s in joins(Rollouts([*done[:-1], *second]), ("NM01",))] == [
        ("r2", "NM01")
    ]
    back = [*second, Event("r2", 0, "", Kind.ABORTED, '{"by": "alice"}', NOW)]
    assert [r.rollout_id for r, _ in joins(Rollouts([*done, *back]), ("NM01",))] == ["r1"]
    assert joins(Rollouts(begun()), known) == []  # a roll-out to named sites stays with them


def test_a_completed_roll_out_can_still_be_taken_back_but_not_from_sites_that_went_on():
    done = [*CANARY, event(Kind.COMMANDED, "ID01", detail="{}"), event(Kind.DONE, "", detail="completed")]
    later = begun(("ID01",), PLAN.model_copy(update={"canary": ("ID01",)}), "r2", "pump/3")
    abort = said(Kind.ABORTED, by="alice", why="")
    assert plan([*done, abort], NOW) == [Back("r1", "TX01"), Back("r1", "ID01")]
    assert plan([*done, *later, abort], NOW)[0] == Back("r1", "TX01")
    assert Back("r1", "ID01") not in plan([*done, *later, abort], NOW)


def test_a_journal_of_the_first_release_is_read_as_completed():
    old = [
        event(Kind.STARTED, "", detail="pump/1"),
        event(Kind.COMMANDED, detail="pump/1"),
        event(Kind.COMMITTED),
    ]
    [rollout] = states(old).values()
    assert (rollout.release, rollout.component_type, rollout.state) == ("pump/1", "pump", "completed")
    assert (rollout.sites["TX01"].where, rollout.sites["TX01"].release) == ("committed", "pump/1")
    assert plan(old, NOW) == []


def test_what_the_table_says_of_a_site_names_where_it_is():
    rollout = states([*CANARY, event(Kind.TRYING)])["r1"]
    assert {site.where for site in rollout.sites.values()} == {"trying", "waiting"}
    assert judge(rollout, rollout.sites["ID01"], NOW).why == "not commanded yet"


# --- the plan's file ------------------------------------------------------------------------------


def test_a_site_keeps_its_ring_whoever_else_there_is():
    """By its id alone, on every machine: the first tenth of the fleet is the same in each roll-out."""
    chosen = Plan(canary=("S7",))
    rings = {f"S{n}": chosen.ring_of(f"S{n}") for n in range(1000)}
    counts = [list(rings.values()).count(ring) for ring in range(4)]
    assert counts[0] == 1
    assert counts == pytest.approx([1, 100, 400, 500], abs=60)
    assert chosen.with_canary(("A", "B")) == chosen
    assert Plan().with_canary(("TX01", "ID01")).canary == Plan().with_canary(("ID01", "TX01")).canary
    assert rings["S0"] == 3  # by SHA-256 of the id, today and tomorrow


def test_a_plan_file_with_mistakes_is_refused_with_each_of_them(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("soak_s: -1\nrings_percent: [50, 10]\nmaintenance_utc: {TX01: [2 to 5]}\ngates: {}\n")
    with pytest.raises(ConfigError) as caught:
        load_plan(path)
    assert sorted(p.split(":")[0] for p in caught.value.problems) == [
        "gates",
        "maintenance_utc.TX01.0",
        "soak_s",
    ]
    path.write_text("rings_percent: [50, 10]")
    with pytest.raises(ConfigError, match="each must be above the last"):
        load_plan(path)
    path.write_text("canary: [TX01")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_plan(path)
    path.write_text("")
    assert load_plan(path) == Plan()
