"""What becomes of a verified release at a site: tried beside, committed, refused, held, gone back from."""

import shutil
import sqlite3
from datetime import timedelta

import pytest

from control_plane.release.director import Director
from edge_agent.update import FOLDER_URL, FolderFetcher, ReleaseClient, State
from shared.schemas import Assignment, AuditEvent, utc_now
from tests.support.releases import Centre, make_release
from tests.support.update_site import NOTHING_YET, SICK, SITE, WELL, TrialSite
from tests.support.web import served

KIND = "coolant_pump"


@pytest.fixture
def centre(tmp_path):
    return Centre(tmp_path)


@pytest.fixture
async def site(centre, tmp_path):
    """A site that scores with coolant_pump/1."""
    with served(centre.layout.repository) as url:
        site = TrialSite(centre, url, tmp_path / "site")
        centre.roll_out(centre.publish(*make_release()))
        assert await site.look() == (State.COMMITTED, "coolant_pump/1")
        yield site


def assign(centre: Centre, release: str, mode: str, generation: int, *, beside: str = "") -> None:
    """The director's word on one release, and on one to go back to."""
    files = {p: t for p, t in centre.image.targets().items() if p.startswith(f"{release}/")}
    told = Assignment(component_type=KIND, mode=mode, rollout_id=f"r{generation}", generation=generation)
    director = Director(centre.layout.repository, SITE)
    director.assign(files, told, centre.signer(f"director-{SITE}"))
    if beside:
        add_target(centre, beside, told.model_copy(update={"mode": "fallback"}))


def add_target(centre: Centre, release: str, told: Assignment) -> None:
    """One more release for the same component type, which `Director.assign` replaces."""
    from tuf.api.metadata import TargetFile, Targets

    from control_plane.release.metadata_files import ONLINE_EXPIRY, load, next_version, publish, renew

    folder = centre.metadata(f"director/{SITE}", "")
    metadata = load(folder / "targets.json", Targets)
    for path, target in centre.image.targets().items():
        if path.startswith(f"{release}/"):
            custom = {"custom": told.model_dump(mode="json")}
            metadata.signed.targets[path] = TargetFile(target.length, target.hashes, path, custom)
    next_version(metadata, ONLINE_EXPIRY)
    metadata.sign(centre.signer(f"director-{SITE}"))
    publish(metadata, folder)
    renew(folder, centre.signer(f"director-{SITE}"))


def second(centre: Centre) -> str:
    """A second release, rolled out."""
    return centre.roll_out(centre.publish(*make_release(version=2, bias=5)))


async def test_a_release_is_tried_beside_the_one_in_use_then_committed(centre, site):
    second(centre)
    assert await site.look() == (State.TRYING, "coolant_pump/2")
    assert (site.scoring, site.beside.beside) == ({KIND: "coolant_pump/1"}, {KIND: "coolant_pump/2"})
    assert await site.judge(NOTHING_YET) == (State.TRYING, "coolant_pump/2")
    assert await site.judge(WELL) == (State.COMMITTED, "coolant_pump/2")
    assert site.events == ["model_committed", "model_trying", "model_committed"]
    assert [a.state for a in site.told] == [State.COMMITTED, State.TRYING, State.COMMITTED]
    assert [(s.slot, s.release.manifest.folder, s.watched) for s in site.slots.all()] == [
        ("COMMITTED", "coolant_pump/2", True), ("PREVIOUS", "coolant_pump/1", False),
    ]  # fmt: skip


async def test_a_release_that_does_badly_is_refused_and_not_tried_again(centre, site):
    """Not by the next look and not after a restart, until the director names a higher generation."""
    rollout = second(centre)
    await site.look()
    state, reason = await site.judge((SICK, False))
    assert (state, reason.split(":")[0]) == (State.REFUSED, "health")
    assert site.record[-1][1]["check"] == "health: shift"
    assert (site.scoring, site.beside.beside) == ({KIND: "coolant_pump/1"}, {})
    again = await site.restarted()
    assert await again.look() == (State.REFUSED, reason)
    assert (await again.updater.apply()).answer(rollout) == (False, reason)
    assert (again.record, again.told) == ([], [])
    centre.roll_out("coolant_pump/2")
    assert await again.look() == (State.TRYING, "coolant_pump/2")


async def test_a_committed_release_that_turns_bad_is_gone_back_from_and_does_not_flap(centre, site):
    second(centre)
    await site.look()
    await site.judge(WELL)
    state, reason = await site.judge((SICK, False))
    assert state is State.ROLLED_BACK
    assert reason.endswith("coolant_pump/1 runs again")
    assert site.scoring == {KIND: "coolant_pump/1"}
    assert (site.events[-1], site.record[-1][1]["check"]) == ("model_rolled_back", "health: shift")
    again = await site.restarted()
    assert again.scoring == {KIND: "coolant_pump/1"}
    assert await again.look() == (State.ROLLED_BACK, reason)
    assert again.beside.beside == {}
    centre.roll_out("coolant_pump/2")
    assert await again.look() == (State.TRYING, "coolant_pump/2")


async def test_the_watch_after_a_commit_goes_on_after_a_restart(centre, site):
    second(centre)
    await site.look()
    await site.judge(WELL)
    again = await site.restarted()
    assert (again.scoring, again.beside.beside) == ({KIND: "coolant_pump/2"}, {KIND: "coolant_pump/1"})
    assert (await again.judge((SICK, False)))[0] is State.ROLLED_BACK
    assert again.scoring == {KIND: "coolant_pump/1"}


async def test_a_watch_that_ended_well_is_over(centre, site):
    second(centre)
    await site.look()
    await site.judge(WELL)
    assert await site.judge(WELL) == (State.COMMITTED, "coolant_pump/2")
    assert (site.beside.beside, site.updater.watched) == ({}, {})
    assert (await site.restarted()).beside.beside == {}


async def test_what_did_well_here_is_gone_back_to_without_a_trial(centre, site):
    """The one in use may be unwell: it is no measure for the one that replaces it."""
    second(centre)
    await site.look()
    await site.judge(WELL)
    centre.roll_out("coolant_pump/1")
    assert await site.look() == (State.COMMITTED, "coolant_pump/1")
    assert (site.scoring, site.beside.beside) == ({KIND: "coolant_pump/1"}, {})


async def test_what_was_not_watched_to_its_end_is_tried_again(centre, site):
    """Only a watch that ended well makes a release one to go back to without a trial."""
    second(centre)
    await site.look()
    await site.judge(WELL)
    centre.roll_out("coolant_pump/1")
    await site.look()
    centre.roll_out("coolant_pump/2")
    assert await site.look() == (State.TRYING, "coolant_pump/2")


async def test_a_shadow_reports_and_never_commits_and_may_become_a_canary(centre, site):
    centre.publish(*make_release(version=2, bias=5))
    assign(centre, "coolant_pump/2", "shadow", 5)
    assert await site.look() == (State.TRYING, "coolant_pump/2")
    assert await site.judge(WELL) == (State.TRYING, "coolant_pump/2")
    assign(centre, "coolant_pump/2", "canary", 6)
    await site.look()
    assert [(a.rollout_id, a.state) for a in site.told[1:]] == [
        ("r5", State.TRYING), ("r6", State.TRYING),
    ]  # fmt: skip
    assert await site.judge(WELL) == (State.COMMITTED, "coolant_pump/2")


async def test_a_newer_word_on_what_runs_is_answered_without_a_trial(centre, site):
    assign(centre, "coolant_pump/1", "active", 7)
    assert await site.look() == (State.COMMITTED, "coolant_pump/1")
    assert site.told[-1].rollout_id == "r7"
    [stored] = site.slots.all()
    assert stored.release.assignment.generation == 7


async def test_a_stale_generation_changes_nothing(centre, site):
    """A director's older word, replayed with a stolen key in newer metadata."""
    second(centre)
    await site.look()
    await site.judge(WELL)
    assign(centre, "coolant_pump/1", "active", 1)
    assert await site.look() == (State.COMMITTED, "coolant_pump/2")
    assert site.scoring == {KIND: "coolant_pump/2"}
    assert site.record[-1][1]["check"] == "stale generation"


async def test_a_newer_release_takes_the_place_of_one_that_is_tried(centre, site):
    """What is in progress never holds up what comes after it."""
    second(centre)
    await site.look()
    centre.roll_out(centre.publish(*make_release(version=3, bias=9)))
    assert await site.look() == (State.TRYING, "coolant_pump/3")
    assert site.beside.beside == {KIND: "coolant_pump/3"}
    assert [s.release.manifest.folder for s in site.slots.all()] == ["coolant_pump/1", "coolant_pump/3"]


async def test_a_release_that_is_not_named_any_more_is_tried_no_further(centre, site):
    """A roll-out that was aborted where there is nothing to go back to."""
    second(centre)
    await site.look()
    director = Director(centre.layout.repository, SITE)
    told = Assignment(component_type=KIND, mode="fallback", rollout_id="r9", generation=9)
    director.fall_back(told, {}, centre.signer(f"director-{SITE}"))
    state, reason = await site.look()
    assert (state, reason.split(":")[0]) == (State.REFUSED, "withdrawn")
    assert (site.scoring, site.beside.beside) == ({KIND: "coolant_pump/1"}, {})


async def test_a_director_that_names_only_a_fallback_takes_the_site_back_to_it(centre, site):
    second(centre)
    await site.look()
    await site.judge(WELL)
    await site.judge(WELL)
    told = Assignment(component_type=KIND, mode="fallback", rollout_id="r9", generation=9)
    director = Director(centre.layout.repository, SITE)
    director.fall_back(told, centre.image.targets(), centre.signer(f"director-{SITE}"))
    assert await site.look() == (State.COMMITTED, "coolant_pump/1")
    assert site.scoring == {KIND: "coolant_pump/1"}


async def test_a_fallback_is_kept_where_there_is_nothing_else_to_go_back_to(centre, site):
    centre.publish(*make_release(version=2, bias=5))
    assign(centre, "coolant_pump/1", "active", 5, beside="coolant_pump/2")
    assert await site.look() == (State.COMMITTED, "coolant_pump/1")
    assert [(s.slot, s.release.manifest.folder) for s in site.slots.all()] == [
        ("COMMITTED", "coolant_pump/1"), ("PREVIOUS", "coolant_pump/2"),
    ]  # fmt: skip


async def test_two_releases_to_run_for_one_type_are_refused(centre, site):
    centre.publish(*make_release(version=2, bias=5))
    assign(centre, "coolant_pump/1", "active", 5)
    told = Assignment(component_type=KIND, mode="canary", rollout_id="x", generation=5)
    add_target(centre, "coolant_pump/2", told)
    outcome = await site.updater.apply()
    assert outcome.problem is not None
    assert outcome.problem.startswith("director assignment: 2 releases to run")


async def test_a_held_site_changes_nothing_until_the_hold_is_over(centre, site):
    site.held = "until tomorrow by A. Reyes: outage"
    second(centre)
    assert await site.look() == (State.HELD, site.held)
    assert await site.look() == (State.HELD, site.held)
    assert (site.beside.beside, site.events[1:]) == ({}, ["model_held"])
    site.held = None
    assert await site.look() == (State.TRYING, "coolant_pump/2")
    site.held = "until tomorrow by A. Reyes: outage"
    assert (await site.judge(WELL))[0] is State.HELD
    assert site.scoring == {KIND: "coolant_pump/1"}
    site.held = None
    assert await site.judge(WELL) == (State.COMMITTED, "coolant_pump/2")


async def test_a_hold_does_not_keep_a_site_on_a_bad_model(centre, site):
    second(centre)
    await site.look()
    await site.judge(WELL)
    site.held = "until tomorrow by A. Reyes: outage"
    assert (await site.judge((SICK, False)))[0] is State.ROLLED_BACK


async def test_a_release_that_ends_the_agent_again_and_again_is_refused(centre, site):
    """A graph that brings the process down takes its own evidence with it: starts are counted on the disk."""
    second(centre)
    for _ in range(3):
        assert (await site.look())[0] is State.TRYING
        site = await site.restarted()
    state, reason = await site.look()
    assert (state, reason.split(": ")[:2]) == (State.REFUSED, ["health", "restarts"])


async def test_an_agent_that_is_told_to_end_blames_no_release(centre, site):
    second(centre)
    for _ in range(5):
        assert (await site.look())[0] is State.TRYING
        await site.updater.close()
        site = await site.restarted()


async def test_a_committed_release_that_ends_the_agent_again_and_again_is_gone_back_from(centre, site):
    second(centre)
    await site.look()
    await site.judge(WELL)
    for _ in range(3):
        site = await site.restarted()
        assert site.scoring == {KIND: "coolant_pump/2"}
    site = await site.restarted()
    assert site.scoring == {KIND: "coolant_pump/1"}
    assert site.says[0] is State.ROLLED_BACK


async def test_a_committed_release_that_the_disk_changed_gives_way_to_the_one_before(centre, site):
    second(centre)
    await site.look()
    await site.judge(WELL)
    with sqlite3.connect(site.folder / "models.db") as db:
        [(model,)] = db.execute("SELECT model FROM slots WHERE state = 'COMMITTED'")
        db.execute("UPDATE slots SET model = ? WHERE state = 'COMMITTED'", (model[:-1] + b"\1",))
    again = await site.restarted()
    assert again.scoring == {KIND: "coolant_pump/1"}
    assert again.says[0] is State.ROLLED_BACK
    assert "image target hash" in again.says[1]


async def test_a_change_that_was_not_put_on_the_record_is_put_there_at_the_next_start(centre, site):
    """The agent ends between its transaction and the audit entry."""

    async def ends(*_):
        raise ZeroDivisionError

    second(centre)
    await site.look()
    site.updater._teller._record = ends
    with pytest.raises(ZeroDivisionError):
        await site.judge(WELL)
    again = await site.restarted()
    assert again.scoring == {KIND: "coolant_pump/2"}
    assert [event for event, _ in again.record] == [AuditEvent.MODEL_COMMITTED]
    assert (await site.restarted()).record == []


async def test_a_site_without_its_metadata_cache_still_boots(centre, site):
    """Also after the roots were changed: the chain lies with the release, in the same transaction."""
    from tuf.api.metadata import Root

    from control_plane.release.keys import generate, load_public
    from control_plane.release.metadata_files import OFFLINE_EXPIRY, load, next_version, publish, renew

    generate(centre.keys, "newer", "test-only")
    folder = centre.metadata(f"director/{SITE}", "")
    root = load(folder / "root.json", Root)
    old = centre.signer(f"director-{SITE}")
    for role in ("targets", "snapshot", "timestamp"):
        root.signed.add_key(load_public(centre.keys / "newer.pub", "newer"), role)
        root.signed.revoke_key(old.public_key.keyid, role)
    next_version(root, OFFLINE_EXPIRY)
    root.sign(old)
    publish(root, folder)
    newer = centre.signer("newer")
    from tuf.api.metadata import Targets

    from control_plane.release.metadata_files import ONLINE_EXPIRY

    targets = load(folder / "targets.json", Targets)
    for target in targets.signed.targets.values():
        target.unrecognized_fields["custom"]["generation"] = 9
    next_version(targets, ONLINE_EXPIRY)
    targets.sign(newer)
    publish(targets, folder)
    renew(folder, newer)
    await site.look()
    [stored] = site.slots.all()
    assert stored.release.assignment.generation == 9
    shutil.rmtree(site.folder / "tuf")
    assert (await site.restarted()).scoring == {KIND: "coolant_pump/1"}


async def test_a_clock_that_was_set_back_blocks_updates_and_says_so(centre, site, monkeypatch):
    """It would take expired metadata for good."""
    monkeypatch.setattr("edge_agent.update.release_client.utc_now", lambda: utc_now() - timedelta(days=3))
    outcome = await site.updater.apply()
    assert outcome.problem is not None
    assert outcome.problem.startswith("clock: this machine's clock says")


async def test_a_couriers_folder_is_verified_as_the_network_is(centre, site, tmp_path):
    """Both ways of cheating and an honest one; the network's own look goes on from there."""
    second(centre)
    stick = tmp_path / "stick"
    shutil.copytree(centre.layout.repository, stick)
    model = stick / "image/targets/coolant_pump/2/model.onnx"
    sound = model.read_bytes()
    source = ReleaseClient(site.folder, site.trust, FOLDER_URL, SITE, FolderFetcher(stick))
    model.write_bytes(sound[:-1] + b"\1")
    assert (await site.updater.apply(source)).problem.startswith("image hash")
    model.unlink()
    assert "is not in" in (await site.updater.apply(source)).away
    model.write_bytes(sound)
    await site.updater.apply(source)
    assert site.says == (State.TRYING, "coolant_pump/2")
    assert await site.look() == (State.TRYING, "coolant_pump/2")


async def test_an_older_couriers_folder_is_refused(centre, site, tmp_path):
    stick = tmp_path / "stick"
    shutil.copytree(centre.layout.repository, stick)
    second(centre)
    await site.look()
    source = ReleaseClient(site.folder, site.trust, FOLDER_URL, SITE, FolderFetcher(stick))
    assert (await site.updater.apply(source)).problem.startswith("image rollback")


async def test_metadata_that_claims_to_be_huge_is_not_read_whole(centre, site):
    """A stolen online key may sign any length of the snapshot; the disk is not filled."""
    from tuf.api.metadata import Timestamp

    from control_plane.release.metadata_files import load

    folder = centre.metadata(f"director/{SITE}", "")
    timestamp = load(folder / "timestamp.json", Timestamp)
    timestamp.signed.version += 1
    timestamp.signed.snapshot_meta.version += 1
    timestamp.signed.snapshot_meta.length = 1 << 40
    timestamp.signatures.clear()
    timestamp.sign(centre.signer(f"director-{SITE}"))
    timestamp.to_file(str(folder / "timestamp.json"))
    (folder / f"{timestamp.signed.snapshot_meta.version}.snapshot.json").write_bytes(b" " * (3 << 20))
    outcome = await site.updater.apply()
    assert outcome.problem is not None
    assert outcome.problem.startswith("director length")
