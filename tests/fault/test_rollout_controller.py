"""The controller on real repositories: killed at every write, paused and aborted meanwhile, alone."""

import asyncio
import shutil
from contextlib import suppress

import pytest

from control_plane.audit.centre_log import CentreAct
from control_plane.release import metadata_files
from control_plane.release.controller import Controller, controller_lock, run_controller
from control_plane.release.director import Director
from control_plane.release.director_keys import DirectorKeys
from control_plane.release.fleet_store import FleetStore
from control_plane.release.journal import Event, Kind
from control_plane.release.rollout import End, states
from control_plane.release.rollout_plan import Limits, Plan
from control_plane.release.rollout_requests import Requests
from control_plane.release.rollout_steps import plan as next_steps
from shared.errors import Rejected, Retryable
from shared.schemas import utc_now
from tests.support.releases import PASSPHRASE, Centre, make_release

SITES = ("TX01", "ID01", "WY01")
OLD, NEW = "coolant_pump/1", "coolant_pump/2"
AT_ONCE = Plan(canary=SITES, rings_percent=(), soak_s=0, gate=Limits(windows_min=0))
ALONE = AT_ONCE.model_copy(update={"canary": ("TX01",)})
WRITES_MAX = 60  # more than a tick of three sites has
DEADLINE_S = 60.0


class Killed(BaseException):
    """The controller's process ends here."""


class World:
    """Three sites that run OLD; NEW is published."""

    def __init__(self, folder):
        self.centre = Centre(folder, SITES)
        self.layout, self.log = self.centre.layout, self.centre.layout.centre_log()
        self.repository, self.store = self.layout.repository, self.layout.store()
        self.centre.roll_out(self.centre.publish(*make_release()))
        self.centre.publish(*make_release(version=2, bias=5))
        self.keys = {site: self.centre.signer(f"director-{site}") for site in SITES}
        self.requests = Requests(self.repository, self.store, self.log, "alice")

    def controller(self):
        return Controller(self.repository, self.store, self.keys, self.log)

    def tick(self):
        return self.controller().tick(utc_now())

    def rollout(self, rollout_id):
        return states(line.event for line in self.store.events())[rollout_id]

    def runs(self, site, kind="coolant_pump"):
        return Director(self.repository, site).runs().get(kind, ("", None))

    def say(self, rollout_id, site, kind, detail=""):
        generation = self.rollout(rollout_id).sites[site].generation
        self.store.append([Event(rollout_id, generation, site, kind, detail, utc_now())])


@pytest.fixture
def world(tmp_path):
    found = World(tmp_path)
    yield found
    found.store.close()


@pytest.fixture
def knife(monkeypatch):
    """`knife(n)`: whatever writes metadata or the journal dies before its n-th write."""
    left = [None]

    def cut():
        if left[0] is not None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

    def dying(real):
        def call(*arguments, **named):
            cut()
            return real(*arguments, **named)

        return call

    monkeypatch.setattr(metadata_files, "save", dying(metadata_files.save))
    monkeypatch.setattr(FleetStore, "append", dying(FleetStore.append))
    return lambda writes: left.__setitem__(0, writes)


def settled(world, rollout_id):
    """What the sites' metadata and the journal say, without times and generations."""
    rollout = world.rollout(rollout_id)
    return rollout.state, {
        name: (site.release, site.back, world.runs(name)[0]) for name, site in rollout.sites.items()
    }


@pytest.mark.parametrize("back", [False, True])
def test_a_controller_killed_at_any_write_leaves_a_journal_that_another_one_carries_on(tmp_path, knife, back):
    """Forward and back; the next one commands nobody twice for the same, and each site knows one word."""
    world = World(tmp_path / "first")
    rollout_id = world.requests.start(NEW, SITES, AT_ONCE)
    if back:
        world.tick()
        world.requests.abort(rollout_id)
    shutil.copytree(world.repository, tmp_path / "repository")
    for file in ("fleet.db", "fleet.db-wal"):
        shutil.copyfile(world.layout.data_dir / file, tmp_path / file)
    world.tick()
    wanted = settled(world, rollout_id)
    for writes in range(WRITES_MAX):
        shutil.rmtree(world.repository)
        shutil.copytree(tmp_path / "repository", world.repository)
        world.store.close()
        for left in world.layout.data_dir.glob("fleet.db*"):
            left.unlink()
        for file in ("fleet.db", "fleet.db-wal"):
            shutil.copyfile(tmp_path / file, world.layout.data_dir / file)
        knife(writes)
        try:
            world.tick()
        except Killed:
            knife(None)
            world.tick()
            assert settled(world, rollout_id) == wanted, writes
            assert world.tick() == 0
            for site in SITES:
                assert not Director(world.repository, site).half_written()
        else:
            break
    knife(None)
    assert 10 < writes < WRITES_MAX - 1
    world.store.close()


def test_a_site_that_was_commanded_by_a_controller_that_died_goes_back_too(world, knife):
    """The worst moment: its metadata is written, the journal knows nothing, and somebody aborts."""
    rollout_id = world.requests.start(NEW, ("TX01",), ALONE)
    for writes in range(WRITES_MAX):
        knife(writes)
        with suppress(Killed):
            world.tick()
        knife(None)
        if world.runs("TX01")[0] == NEW:
            break
    assert world.rollout(rollout_id).sites["TX01"].generation == 0
    world.requests.abort(rollout_id)
    world.tick()
    assert world.runs("TX01")[0] == OLD
    assert world.rollout(rollout_id).end is End.ROLLED_BACK


def test_going_back_names_the_release_before_with_a_higher_generation_and_the_directors_key_alone(world):
    """No person signs anything; the image repository is not touched."""
    rollout_id = world.requests.start(NEW, SITES, AT_ONCE)
    world.tick()
    image = {p: p.read_bytes() for p in (world.repository / "image" / "metadata").glob("*.json")}
    forward = {site: world.runs(site)[1] for site in SITES}
    assert {word.mode for word in forward.values()} == {"canary"}
    world.say(rollout_id, "ID01", Kind.ROLLED_BACK, "shift")
    world.tick()
    for site in SITES:
        release, word = world.runs(site)
        assert (release, word.mode, word.rollout_id) == (OLD, "fallback", rollout_id)
        assert word.generation > forward[site].generation
    assert {p: p.read_bytes() for p in (world.repository / "image" / "metadata").glob("*.json")} == image
    acts = [(entry.act, entry.detail.get("verdict")) for entry in world.log.entries()]
    assert (CentreAct.GATE_DECIDED, "fail") in acts
    assert acts[-1][0] is CentreAct.ROLLOUT_ROLLED_BACK
    world.requests.start(NEW, SITES, AT_ONCE)  # and the type is free again


def test_a_site_without_a_release_before_is_named_none_any_more(world):
    """There is nothing to go back to: what runs there is named no more, and nobody waits for it."""
    first = world.centre.publish(*make_release(kind="heat_exchanger"))
    rollout_id = world.requests.start(first, ("TX01",), ALONE)
    world.tick()
    generation = world.runs("TX01", "heat_exchanger")[1].generation
    world.requests.abort(rollout_id)
    world.tick()
    assert world.runs("TX01", "heat_exchanger")[0] == ""
    assert world.runs("TX01")[0] == OLD  # other types keep what they have
    assert world.rollout(rollout_id).sites["TX01"].where == "withdrawn"
    assert Director(world.repository, "TX01").generation() > generation


def test_a_pause_that_comes_while_a_controller_works_holds_from_the_next_batch(world, monkeypatch):
    """The journal is looked at again before every step."""
    rollout_id = world.requests.start(NEW, SITES, AT_ONCE)
    controller = world.controller()
    monkeypatch.setattr("control_plane.release.controller.BATCH", 1)
    assign, told = controller._assign, []

    def assign_then_pause(action, now):
        told.append(action.site)
        line = assign(action, now)
        world.requests.pause(rollout_id)
        return line

    monkeypatch.setattr(controller, "_assign", assign_then_pause)
    controller.tick(utc_now())
    assert told == ["ID01"]
    assert [site for site in SITES if world.runs(site)[0] == NEW] == told
    assert world.rollout(rollout_id).paused == "alice"


def test_a_decision_on_an_old_journal_is_taken_anew(world, monkeypatch):
    """A failure that arrives between the look and the verdict wins."""
    rollout_id = world.requests.start(NEW, SITES, AT_ONCE)
    world.tick()
    for site in SITES:
        world.say(rollout_id, site, Kind.COMMITTED)
    controller = world.controller()
    decide, late = controller._decide, []

    def decide_late(action, now):
        if not late:
            late.append(action)
            world.say(rollout_id, "WY01", Kind.ROLLED_BACK, "shift")
        decide(action, now)

    monkeypatch.setattr(controller, "_decide", decide_late)
    controller.tick(utc_now())
    assert late[0].verdict == "pass"
    assert world.rollout(rollout_id).end is End.ROLLED_BACK
    assert not any('"pass"' in line.event.detail for line in world.store.events())


def test_one_site_that_cannot_be_commanded_does_not_keep_the_others_waiting(world):
    rollout_id = world.requests.start(NEW, SITES, AT_ONCE)
    del world.keys["ID01"]
    world.tick()
    where = {name: site.where for name, site in world.rollout(rollout_id).sites.items()}
    assert where == {"TX01": "commanded", "ID01": "waiting", "WY01": "commanded"}


def test_a_revoked_release_is_taken_back_from_the_sites(world):
    """People took it out of the image repository: what was completed with it goes back, too."""
    rollout_id = world.requests.start(NEW, SITES, AT_ONCE)
    world.tick()
    for site in SITES:
        world.say(rollout_id, site, Kind.COMMITTED)
    world.tick()
    assert world.rollout(rollout_id).end is End.COMPLETED
    image, signer = world.centre.image, world.centre.signer
    proposal = image.propose_revocation([NEW], signer("dave"), "trained on the wrong plant")
    world.centre.approve(proposal, "alice", "carol")
    image.publish(proposal, signer("online"))
    world.tick()
    assert {world.runs(site)[0] for site in SITES} == {OLD}
    assert "no longer published" in world.rollout(rollout_id).stopping


def test_requests_that_cannot_be_granted_say_why_and_are_on_record(world):
    rollout_id = world.requests.start(NEW, SITES, AT_ONCE)
    world.tick()
    refusals = [
        (lambda: world.requests.start(NEW, ("TX01",), Plan()), "is running at TX01; wait for it"),
        (lambda: world.requests.start("coolant_pump/9", SITES, Plan()), "not published"),
        (lambda: world.requests.start(OLD, ("XX99",), Plan()), "no director repository for XX99"),
        (lambda: world.requests.start(OLD, (), Plan()), "no site to roll out to"),
        (
            lambda: world.requests.start(OLD, ("TX01",), Plan(canary=("ID01",))),
            "names ID01, which is not among",
        ),
        (lambda: world.requests.resume(rollout_id), "is not paused; it is running"),
        (lambda: world.requests.promote(rollout_id), "nothing to judge by"),
        (lambda: world.requests.pause("pump-1-x"), "no roll-out 'pump-1-x'"),
    ]
    for ask, words in refusals:
        with pytest.raises(Rejected, match=words):
            ask()
    world.requests.pause(rollout_id)
    with pytest.raises(Rejected, match="paused already, by alice"):
        world.requests.pause(rollout_id)
    world.say(rollout_id, "TX01", Kind.COMMITTED)
    with pytest.raises(Rejected, match="resume it first"):
        world.requests.promote(rollout_id)
    world.requests.resume(rollout_id)
    world.say(rollout_id, "TX01", Kind.ROLLED_BACK, "shift")
    with pytest.raises(Rejected, match="nobody may let that pass"):
        world.requests.promote(rollout_id)
    world.requests.abort(rollout_id, "enough")
    with pytest.raises(Rejected, match="goes back already"):
        world.requests.abort(rollout_id)
    with pytest.raises(Rejected, match="that is never held"):
        world.requests.pause(rollout_id)
    acts = [entry.act for entry in world.log.entries()]
    assert acts.count(CentreAct.ROLLOUT_REFUSED) == len(refusals) + 5
    assert acts.count(CentreAct.ROLLOUT_ABORTED) == 1


def test_a_request_and_a_line_that_cross_lead_to_another_look(world, monkeypatch):
    """Two starters at once: the second sees the first, and is refused."""
    other, read, raced = Requests(world.repository, world.store, world.log, "bob"), world.store.events, []

    def events(after=0):
        found = read(after)
        if not raced:
            raced.append(True)
            other.start(NEW, SITES, AT_ONCE)
        return found

    monkeypatch.setattr(world.store, "events", events)
    with pytest.raises(Rejected, match="is running at"):
        world.requests.start(NEW, SITES, AT_ONCE)
    started = [line.event for line in read() if line.event.kind is Kind.STARTED]
    assert len(started) == 2  # the fixture's and bob's


def test_only_one_controller_works_on_a_repository(world):
    first, second = controller_lock(world.repository), controller_lock(world.repository)
    with first, pytest.raises(Retryable, match="another controller"), second:
        pass
    with controller_lock(world.repository):
        pass


async def test_a_second_controller_stands_by_until_the_first_ends(world, monkeypatch):
    """And a site that is enrolled while it runs is found by its new key."""
    monkeypatch.setattr("control_plane.release.controller.TICK_PERIOD_S", 0.02)
    keys = DirectorKeys(world.centre.keys, PASSPHRASE)
    assert sorted(keys) == sorted(SITES)
    assert "XX99" not in keys
    rollout_id = world.requests.start(NEW, SITES, AT_ONCE)
    tasks = [
        asyncio.create_task(run_controller(world.repository, world.store, keys, world.log)) for _ in range(2)
    ]
    try:
        await until(lambda: all(world.runs(site)[0] == NEW for site in SITES))
        tasks[0].cancel()
        await asyncio.wait([tasks[0]])
        world.requests.abort(rollout_id)
        await until(lambda: world.rollout(rollout_id).end is End.ROLLED_BACK)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition):
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.05)


def test_a_tick_that_failed_begins_again_from_the_journal(world, monkeypatch):
    """A full disk today, room tomorrow: the same controller goes on."""
    rollout_id = world.requests.start(NEW, SITES, AT_ONCE)
    controller = world.controller()
    with monkeypatch.context() as patch:
        patch.setattr(metadata_files, "save", _full_disk)
        with pytest.raises(OSError, match="No space left"):
            controller.tick(utc_now())
    controller.tick(utc_now())
    assert {world.runs(site)[0] for site in SITES} == {NEW}
    lines = [line.event for line in world.store.events()]
    assert next_steps(lines, utc_now()) == []
    assert world.rollout(rollout_id).state == "running"


def _full_disk(*_):
    raise OSError(28, "No space left on device")
