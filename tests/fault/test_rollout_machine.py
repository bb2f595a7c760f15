"""Roll-outs against a model of them: real journal, real signed metadata; the controller dies at any write.

No interleaving of ticks, answers, reports, pauses, kills and late words may promote past a failed or
inconclusive gate, leave a site in no state, or undo a pause. `ROLLOUT_EXAMPLES` makes it longer; hypothesis
prints the steps of a failure, which replay it.
"""

import os
import shutil
import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from control_plane.audit.centre_log import CentreLog
from control_plane.release import controller as controller_module
from control_plane.release import metadata_files
from control_plane.release.controller import Controller
from control_plane.release.director import Director
from control_plane.release.fleet_store import FleetStore
from control_plane.release.journal import Event, Health, Kind
from control_plane.release.rollout import End, Verdict, states
from control_plane.release.rollout_plan import Limits, Plan
from control_plane.release.rollout_requests import Requests
from control_plane.release.rollout_steps import plan
from shared.errors import Rejected
from shared.log_key import LogKey
from shared.schemas import utc_now
from tests.support.releases import Centre, make_release

EXAMPLES = int(os.environ.get("ROLLOUT_EXAMPLES", "16"))
STEPS = 40
PHASES = tuple(Phase) if EXAMPLES > 20 else (Phase.generate,)  # shrinking takes minutes
SITES = ("BB01", "CC01", "DD01", "EE01")  # canary; two of the first half; one of the second
PLAN = Plan(
    canary=("BB01",), rings_percent=(50,), soak_s=60, answer_within_s=600, failed_sites_max=1,
    gate=Limits(windows_min=5, shift_max=0.2),
)  # fmt: skip
WORDS = {
    "waiting", "commanded", "trying", "committed", "held", "refused", "rolled_back", "going_back", "back",
    "not_back", "withdrawn",
}  # fmt: skip
ANSWERS = (
    Kind.TRYING,
    Kind.COMMITTED,
    Kind.COMMITTED,
    Kind.COMMITTED,
    Kind.HELD,
    Kind.REFUSED,
    Kind.ROLLED_BACK,
)

MEMORY = next(
    (folder for folder in ("/dev/shm",) if os.path.isdir(folder)), None
)  # nothing here is about disks

sites = st.sampled_from(SITES)
OLD, NEW = "coolant_pump/1", "coolant_pump/2"


class Killed(BaseException):
    """The controller's process ends here."""


class Knife:
    """Ends the controller before its n-th write, of a metadata file or of the journal."""

    def __init__(self) -> None:
        self.left: int | None = None

    def cut(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed


class DyingStore(FleetStore):
    """A journal whose writer may be killed before a line is written."""

    def __init__(self, where: Path, knife: Knife) -> None:
        super().__init__(where)
        self._knife = knife

    def append(self, events, after=None):
        self._knife.cut()
        super().append(events, after)


class World:
    """A centre with four sites that run OLD, and NEW published; copied for each example."""

    def __init__(self, folder: Path) -> None:
        self.centre = Centre(folder, SITES)
        self.centre.roll_out(self.centre.publish(*make_release()))
        self.centre.publish(*make_release(version=2, bias=5))
        self.keys = {site: self.centre.signer(f"director-{site}") for site in SITES}
        self.log_key = LogKey.load_or_create(folder / "log.pem")


class RolloutMachine(RuleBasedStateMachine):
    """The journal is judged by an oracle of its own, line by line; the metadata by what it names."""

    world: World
    knife: Knife

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        root = Path(self.folder.name)
        self.repository = root / "repository"
        shutil.copytree(self.world.centre.layout.repository, self.repository)
        shutil.copyfile(self.world.centre.layout.data_dir / "fleet.db", root / "fleet.db")
        self.store = FleetStore(root / "fleet.db")
        self.log = CentreLog(root / "log", self.world.log_key)
        self.requests = Requests(self.repository, self.store, self.log, "alice")
        self.rollout_id = self.requests.start(NEW, SITES, PLAN)
        self.now = utc_now()
        self.paused, self.seen, self.oracle = False, 0, Oracle()
        self.generations = dict.fromkeys(SITES, 0)
        self.restart()
        self.controller.tick(self.now)

    def restart(self) -> None:
        self.knife.left = None
        store = DyingStore(Path(self.folder.name) / "fleet.db", self.knife)
        self.controller = Controller(self.repository, store, self.world.keys, self.log)

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    # --- what happens ----------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0, 1, 30, 61, 700]))
    def tick(self, seconds: int) -> None:
        """A whole tick; a paused roll-out names the release at no further site."""
        self.now += timedelta(seconds=seconds)
        before, paused = self.ahead(), self.paused
        self.controller.tick(self.now)
        if paused:
            assert self.ahead() <= before, "went forward while paused"
        self.after_a_whole_tick()

    @rule(writes=st.integers(0, 12))
    def tick_and_die(self, writes: int) -> None:
        """The process ends in the middle; another begins."""
        before, paused = self.ahead(), self.paused
        self.knife.left = writes
        with suppress(Killed):
            self.controller.tick(self.now)
        self.restart()
        if paused:
            assert self.ahead() <= before, "went forward while paused"

    @rule(site=sites, kind=st.sampled_from(ANSWERS), late=st.sampled_from([0, 0, 0, 0, -1, 1]))
    def answer(self, site: str, kind: Kind, late: int) -> None:
        """A word of a site on what its metadata says, sometimes on another generation."""
        self.say(site, kind, late, "of its own")

    @rule(site=sites, windows=st.sampled_from([0, 4, 5, 50]), shift=st.sampled_from([0.0, 0.0, 0.1, 0.3]))
    def report(self, site: str, windows: int, shift: float) -> None:
        """A health report."""
        health = Health(
            state=Kind.COMMITTED, windows=windows, latency_p99_ms=1, not_finite_fraction=0,
            out_of_distribution_fraction=0, shift=shift,
        )  # fmt: skip
        self.say(site, Kind.HEALTH, 0, health.model_dump_json())

    @rule()
    def all_commit(self) -> None:
        """Every site does what its metadata says."""
        for site in SITES:
            self.answer(site, Kind.COMMITTED, 0)

    @rule(site=sites)
    def one_is_well(self, site: str) -> None:
        self.answer(site, Kind.COMMITTED, 0)
        self.report(site, 50, 0.0)

    @rule()
    def one_of_two_is_well(self) -> None:
        """The other of its ring says nothing, for as long as it takes to soak."""
        self.one_is_well("CC01")
        self.tick(61)

    @rule()
    def it_is_paused_before_the_gate_would_pass(self) -> None:
        self.all_commit()
        self.all_report(50)
        self.pause()
        self.tick(61)

    @rule()
    def two_fail_while_it_is_paused(self) -> None:
        """hawkbit 2161."""
        self.pause()
        self.say("BB01", Kind.REFUSED, 0, "of its own")
        self.say("CC01", Kind.REFUSED, 0, "of its own")
        self.tick(0)

    @rule(windows=st.sampled_from([4, 50, 50]))
    def all_report(self, windows: int) -> None:
        """Every site is well, as far as it can tell."""
        for site in SITES:
            self.report(site, windows, 0.0)

    @rule(seconds=st.sampled_from([1, 61, 61, 700]))
    def all_is_well(self, seconds: int) -> None:
        """Everybody commits and reports; time passes; the controller looks twice."""
        self.all_commit()
        self.all_report(50)
        self.tick(seconds)

    @rule(kind=st.sampled_from([Kind.REFUSED, Kind.ROLLED_BACK]))
    def the_canary_fails(self, kind: Kind) -> None:
        self.say("BB01", kind, 0, "of its own")

    @rule()
    def pause(self) -> None:
        with suppress(Rejected):
            self.requests.pause(self.rollout_id)
            self.paused = True

    @rule()
    def resume(self) -> None:
        with suppress(Rejected):
            self.requests.resume(self.rollout_id)
            self.paused = False

    @rule()
    def promote(self) -> None:
        with suppress(Rejected):
            self.requests.promote(self.rollout_id)
            assert not self.paused, "promoted past a pause"

    @rule(dice=st.integers(0, 5))
    def abort(self, dice: int) -> None:
        if dice == 0:
            with suppress(Rejected):
                self.requests.abort(self.rollout_id)

    @rule()
    def start_another(self) -> None:
        """Refused for as long as this one is not at its end."""
        if not self.rollout().end:
            with pytest.raises(Rejected, match="wait for it"):
                self.requests.start(NEW, SITES[:1], Plan())

    # --- what must hold --------------------------------------------------------------------------

    @invariant()
    def every_site_is_somewhere(self) -> None:
        rollout = self.rollout()
        assert rollout.sites.keys() == set(SITES)
        assert {site.where for site in rollout.sites.values()} <= WORDS

    @invariant()
    def the_pause_is_as_people_left_it(self) -> None:
        assert bool(self.rollout().paused) == self.paused

    @invariant()
    def generations_never_fall(self) -> None:
        for site in SITES:
            told = Director(self.repository, site).generation()
            assert told >= self.generations[site]
            self.generations[site] = told

    @invariant()
    def the_journal_holds_before_the_oracle(self) -> None:
        """Read as a follower does: of health reports the journal keeps only the newest."""
        for line in self.store.events(self.seen):
            self.seen = line.number
            if line.event.rollout_id == self.rollout_id:
                self.oracle.one(line.event)

    @invariant()
    def the_plan_is_a_function(self) -> None:
        lines = [line.event for line in self.store.events()]
        assert plan(lines, self.now) == plan(lines, self.now)

    def after_a_whole_tick(self) -> None:
        """Journal and metadata say the same; whoever had to go back is told so."""
        rollout = self.rollout()
        for site, state in rollout.sites.items():
            if state.generation:
                assert self.named(site) == state.release
            assert not Director(self.repository, site).half_written(), "a site sees half of a command"
        self.the_journal_holds_before_the_oracle()
        late = rollout.end is End.COMPLETED  # its gates are closed; a site looks after itself from then on
        if rollout.stopping or (self.oracle.spent() and not late):
            assert self.ahead() == set(), "a bad release is still named"
            assert rollout.end is End.ROLLED_BACK
        assert self.controller.tick(self.now) == 0, "the same journal and time, and yet more to do"

    # --- helpers ---------------------------------------------------------------------------------

    def rollout(self):
        return states(line.event for line in self.store.events())[self.rollout_id]

    def named(self, site: str) -> str:
        """What the site's metadata has it run."""
        return Director(self.repository, site).runs()["coolant_pump"][0]

    def ahead(self) -> set[str]:
        return {site for site in SITES if self.named(site) == NEW}

    def say(self, site: str, kind: Kind, late: int, detail: str) -> None:
        generation = Director(self.repository, site).generation() + late
        self.store.append([Event(self.rollout_id, generation, site, kind, detail, self.now)])


class Oracle:
    """What a journal may hold, told apart from how the controller works it out."""

    def __init__(self) -> None:
        self.told: dict[str, int] = {}  # the newest forward command
        self.newest: dict[str, int] = {}
        self.failed: set[str] = set()
        self.stopped = self.promoted = False
        self.verdicts: dict[int, str] = {}
        self.words: dict[str, Event] = {}
        self.healths: dict[str, Health] = {}

    def spent(self) -> bool:
        failed = self.failed | {s for s, h in self.healths.items() if h.windows >= 5 and h.shift > 0.2}
        return "BB01" in failed or len(failed) > 1

    def one(self, line: Event) -> None:
        """AssertionError where the line may not stand."""
        if line.kind is Kind.COMMANDED:
            assert line.generation > self.newest.get(line.site, 0), "a generation came twice"
            self.newest[line.site] = line.generation
            self.words.pop(line.site, None)
            self.healths.pop(line.site, None)
            if '"back": false' in line.detail:
                self.told[line.site] = line.generation
        elif line.site and line.generation == self.newest.get(line.site) == self.told.get(line.site):
            self.hear(line)
        elif line.kind is Kind.GATE:
            self.gate(line)
        elif line.kind is Kind.PROMOTED:
            assert not self.spent(), "a failed gate was let pass"
            self.promoted = True
        elif line.kind is Kind.RING and '"ring": 0' not in line.detail:
            assert not self.stopped
            newest = self.verdicts[max(self.verdicts)]
            assert self.promoted or newest == Verdict.PASS, "past an inconclusive gate"
            assert not self.spent(), "past a failed gate"
            self.promoted = False
        elif line.kind is Kind.DONE and line.detail == End.COMPLETED:
            assert not self.stopped
            assert not self.spent(), "completed past a failed gate"
        elif line.kind is Kind.ABORTED:
            self.stopped = True

    def hear(self, line: Event) -> None:
        if line.kind is Kind.HEALTH:
            if line.site not in self.failed:
                self.healths[line.site] = Health.model_validate_json(line.detail)
        elif line.site not in self.failed:
            self.words[line.site] = line
            if line.kind in (Kind.REFUSED, Kind.ROLLED_BACK):
                self.failed.add(line.site)

    def gate(self, line: Event) -> None:
        ring = int(line.detail.split('"ring": ')[1].split(",")[0])
        verdict = next(v for v in Verdict if f'"{v.value}"' in line.detail)
        self.verdicts[ring] = verdict
        if verdict is Verdict.FAIL:
            assert self.spent(), "failed without a reason"
            self.stopped = True
        if verdict is Verdict.PASS:
            assert not self.spent(), "passed though too many failed"
            own = {site for site in SITES if PLAN.ring_of(site) == ring} - self.failed
            for site in own:
                word, health = self.words.get(site), self.healths.get(site)
                assert word is not None, "passed without a word"
                assert word.kind is Kind.COMMITTED, "passed without a commit"
                assert line.at - word.at >= timedelta(seconds=PLAN.soak_s), "passed without soaking"
                assert health is not None, "passed without data"
                assert health.windows >= 5, "passed on too little data"


def test_no_interleaving_breaks_a_roll_out(tmp_path, monkeypatch):
    """Ticks, kills, answers, reports, pauses and late words in any order."""
    knife = Knife()
    save = metadata_files.save

    def dying_save(*arguments):
        knife.cut()
        save(*arguments)

    monkeypatch.setattr(metadata_files, "save", dying_save)
    monkeypatch.setattr(controller_module, "BATCH", 2)  # of four sites: so that a kill comes between batches
    RolloutMachine.world, RolloutMachine.knife = World(tmp_path), knife
    chosen = settings(
        max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, print_blob=True,
        suppress_health_check=list(HealthCheck), phases=PHASES, derandomize=EXAMPLES <= 20,
    )  # fmt: skip
    run_state_machine_as_test(RolloutMachine, settings=chosen)
