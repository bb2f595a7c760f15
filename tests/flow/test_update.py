"""What an agent lets run: real TUF repositories over HTTP, each way of cheating named by its check."""

import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Timestamp

from control_plane.release.director import Director
from control_plane.release.metadata_files import load, publish, renew
from control_plane.release.proposal import Proposal
from edge_agent.scoring import Scorer
from edge_agent.update import ModelSlots, Release, ReleaseClient, Updater
from shared.errors import Rejected, Retryable, Untrusted
from shared.schemas import Assignment, AuditEvent
from tests.support.releases import Centre, make_release, write_release
from tests.support.web import served

SITE = "TX01"


class Site:
    """An agent's update room against a served centre, without the rest of the agent."""

    def __init__(self, centre: Centre, url: str, folder: Path) -> None:
        self.folder = folder
        self.trust = centre.trust[SITE]
        self.client = ReleaseClient(folder, self.trust, url, SITE)
        self.slots = ModelSlots(folder, self.trust)
        self.scoring: dict[str, str] = {}
        self.record: list[tuple[AuditEvent, dict]] = []
        self.updater = Updater(self.client, self.slots, self.install, self.note)

    async def install(self, release: Release) -> None:
        Scorer.load(release.manifest, release.model)
        self.scoring[release.manifest.component_type] = release.manifest.folder

    async def note(self, event: AuditEvent, detail: dict) -> None:
        self.record.append((event, detail))


@pytest.fixture
def centre(tmp_path):
    return Centre(tmp_path, ("TX01", "ID01"))


@pytest.fixture
def site(centre, tmp_path):
    with served(centre.layout.repository) as url:
        yield Site(centre, url, tmp_path / "site")


@pytest.fixture
async def running(centre, site):
    """A site that scores with coolant_pump/1."""
    centre.roll_out(centre.publish(*make_release()))
    outcome = await site.updater.apply()
    assert (list(outcome.committed.values()), outcome.refused) == (["coolant_pump/1"], {})
    assert site.scoring == {"coolant_pump": "coolant_pump/1"}
    return site


async def refused(site: Site, check: str) -> str:
    """The site refuses for the named check, says so on the record, and goes on with what it has."""
    before = dict(site.scoring)
    outcome = await site.updater.apply()
    said = outcome.problem or next(iter(outcome.refused.values()))
    assert said.startswith(check), said
    assert site.scoring == before
    event, detail = site.record[-1]
    assert event is AuditEvent.MODEL_REFUSED
    assert (detail["check"], detail["reason"]) == (check, said)
    releases, problems = site.slots.committed()
    assert ([r.manifest.folder for r in releases], problems) == (list(before.values()), [])
    return said


def test_a_site_that_was_never_enrolled_is_told_how(tmp_path):
    """Without the roots that it is to trust a site looks at nothing, and says what leaves them."""
    client = ReleaseClient(tmp_path, tmp_path / "trust", "http://127.0.0.1:1", "TX01")
    with pytest.raises(Retryable, match="edge-agent enroll"):
        client.fetch()


async def test_an_approved_release_runs_and_survives_a_restart(centre, running, tmp_path):
    again = Site(centre, "http://127.0.0.1:1/", running.folder)  # the centre is away
    await again.updater.resume()
    assert again.scoring == {"coolant_pump": "coolant_pump/1"}
    assert (await again.updater.apply()).away
    event, detail = running.record[-1]
    assert (event, detail["release"]) == (AuditEvent.MODEL_COMMITTED, "coolant_pump/1")


async def test_a_site_that_was_not_enrolled_is_told_what_brings_its_trust(site):
    """Without a root to trust no model is taken, and what runs goes on; the reason names the remedy."""
    (site.trust / "image_root.json").unlink()
    outcome = await site.updater.apply()
    assert "image_root.json is missing; `edge-agent enroll` brings it" in str(outcome.away)
    assert not site.scoring


async def test_a_newer_release_replaces_the_older(centre, running):
    rollout = centre.roll_out(centre.publish(*make_release(version=2, bias=5)))
    assert (await running.updater.apply()).answer(rollout) == (True, "coolant_pump/2")
    assert running.scoring == {"coolant_pump": "coolant_pump/2"}


async def test_an_older_approved_release_may_be_chosen_again(centre, running):
    centre.roll_out(centre.publish(*make_release(version=2, bias=5)))
    await running.updater.apply()
    centre.roll_out("coolant_pump/1")
    await running.updater.apply()
    assert running.scoring == {"coolant_pump": "coolant_pump/1"}


async def test_a_tampered_model_is_refused(centre, running):
    manifest, model = make_release(version=2)
    centre.roll_out(centre.publish(manifest, model))
    path = centre.layout.repository / "image/targets/coolant_pump/2/model.onnx"
    path.write_bytes(model[:-1] + bytes([model[-1] ^ 1]))
    await refused(running, "image hash")


async def test_a_longer_file_is_refused_before_it_is_read_whole(centre, running):
    manifest, model = make_release(version=2)
    centre.roll_out(centre.publish(manifest, model))
    path = centre.layout.repository / "image/targets/coolant_pump/2/model.onnx"
    path.write_bytes(model + b"\0")
    await refused(running, "image length")


@pytest.mark.parametrize("signers", [(), ("alice",)])
async def test_targets_with_too_few_approvals_are_refused(centre, running, signers):
    """Not even the online keys can publish what 2 of 3 people did not sign."""
    release = write_release(centre.folder / "out/2", *make_release(version=2))
    proposal = centre.propose(release)
    centre.approve(proposal, *signers)
    with pytest.raises(Rejected, match=rf"{len(signers)} of 2 approvals"):
        centre.image.publish(proposal, centre.signer("online"))
    publish(Proposal.open(proposal).signed_targets(), centre.metadata("image", ""))
    renew(centre.metadata("image", ""), centre.signer("online"))
    assert "too few valid approvals" in await refused(running, "image signatures")


async def test_a_forged_signature_is_refused(centre, running):
    centre.publish(*make_release(version=2))
    for name in ("3.targets.json", "targets.json"):
        centre.change_json(
            centre.metadata("image", name), lambda d: d["signed"].update(expires="2099-01-01T00:00:00Z")
        )
    await refused(running, "image signatures")


async def test_what_only_the_director_names_is_refused(centre, running):
    """A stolen director key cannot bring in a model that people did not approve."""
    manifest, model = make_release(version=2)
    other = Centre(centre.folder / "thief", (SITE,))
    other.publish(manifest, model)
    files = other.image.targets()
    director_files = {path: files[path] for path in files if path.startswith("coolant_pump/2")}
    assignment = Assignment(component_type="coolant_pump", mode="active", rollout_id="theft", generation=9)
    Director(centre.layout.repository, SITE).assign(
        director_files, assignment, centre.signer("director-TX01")
    )
    await refused(running, "image repository")


async def test_repositories_that_name_different_bytes_are_refused(centre, running):
    centre.roll_out(centre.publish(*make_release(version=2)))
    files = dict(centre.image.targets())
    wrong = files["coolant_pump/2/model.onnx"]
    swapped = {
        "coolant_pump/2/model.onnx": files["coolant_pump/2/manifest.json"],
        "coolant_pump/2/manifest.json": wrong,
    }
    assignment = Assignment(component_type="coolant_pump", mode="active", rollout_id="x", generation=3)
    Director(centre.layout.repository, SITE).assign(swapped, assignment, centre.signer("director-TX01"))
    await refused(running, "director and image agree")


async def test_another_sites_director_is_refused(centre, running):
    """Metadata that ID01's key signed does not count at TX01."""
    centre.roll_out(centre.publish(*make_release(version=2)), "ID01")
    mine, theirs = (centre.layout.repository / "director" / s / "metadata" for s in (SITE, "ID01"))
    shutil.rmtree(mine)
    shutil.copytree(theirs, mine)
    await refused(running, "director signatures")


async def test_a_rolled_back_repository_is_refused(centre, running):
    old = centre.folder / "old"
    shutil.copytree(centre.metadata("image", ""), old)
    centre.roll_out(centre.publish(*make_release(version=2)))
    await running.updater.apply()
    shutil.rmtree(centre.metadata("image", ""))
    shutil.copytree(old, centre.metadata("image", ""))
    await refused(running, "image rollback")


async def test_a_rolled_back_repository_is_refused_though_the_cache_was_wiped(centre, running):
    old = centre.folder / "old"
    shutil.copytree(centre.metadata("image", ""), old)
    centre.roll_out(centre.publish(*make_release(version=2)))
    await running.updater.apply()
    shutil.rmtree(centre.metadata("image", ""))
    shutil.copytree(old, centre.metadata("image", ""))
    shutil.rmtree(running.folder / "tuf")
    outcome = await running.updater.apply()
    assert "this site has seen version" in (outcome.problem or "")
    assert running.scoring == {"coolant_pump": "coolant_pump/2"}


async def test_expired_metadata_blocks_updates_and_never_scoring(centre, running):
    path = centre.metadata("director/TX01", "timestamp.json")
    timestamp = load(path, Timestamp)
    timestamp.signed.expires = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    timestamp.signed.version += 1
    timestamp.signatures.clear()
    timestamp.sign(centre.signer("director-TX01"))
    timestamp.to_file(str(path))
    assert "clock" in await refused(running, "director expiry")
    again = Site(centre, "http://127.0.0.1:1/", running.folder)
    await again.updater.resume()
    assert again.scoring == {"coolant_pump": "coolant_pump/1"}


async def test_a_release_for_another_type_than_assigned_is_refused(centre, running):
    manifest, model = make_release(kind="heat_exchanger")
    centre.publish(manifest, model)
    files = {p: t for p, t in centre.image.targets().items() if p.startswith("heat_exchanger/")}
    assignment = Assignment(component_type="coolant_pump", mode="active", rollout_id="x", generation=3)
    Director(centre.layout.repository, SITE).assign(files, assignment, centre.signer("director-TX01"))
    await refused(running, "component type")


def release_with_a_wrong_golden_window():
    manifest, _ = make_release(version=2)
    outputs = manifest.golden[0].outputs | {"rul": [0, 1, 2]}
    return make_release(version=2, golden=[manifest.golden[0].model_copy(update={"outputs": outputs})])


async def test_a_release_that_fails_its_golden_windows_is_refused(centre, running):
    rollout = centre.roll_out(centre.publish(*release_with_a_wrong_golden_window()))
    said = await refused(running, "golden window")
    assert (await running.updater.apply()).answer(rollout) == (False, said)  # not tried twice
    assert sum(event is AuditEvent.MODEL_REFUSED for event, _ in running.record) == 1


async def test_one_refused_release_does_not_hold_up_another(centre, running):
    bad = centre.roll_out(centre.publish(*release_with_a_wrong_golden_window()))
    good = centre.roll_out(centre.publish(*make_release(kind="heat_exchanger")))
    outcome = await running.updater.apply()
    assert outcome.answer(good) == (True, "heat_exchanger/1")
    assert outcome.answer(bad)[1].startswith("golden window")
    assert running.scoring == {"coolant_pump": "coolant_pump/1", "heat_exchanger": "heat_exchanger/1"}


async def test_a_model_changed_on_the_sites_own_disk_does_not_run(centre, running):
    with sqlite3.connect(running.folder / "models.db") as db:
        [(model,)] = db.execute("SELECT model FROM slots")
        db.execute("UPDATE slots SET model = ?", (model[:-1] + b"\1",))
    again = Site(centre, "http://127.0.0.1:1/", running.folder)
    await again.updater.resume()
    assert again.scoring == {}
    assert again.record[-1][1]["check"] == "image target hash"


async def test_power_lost_before_the_commit_leaves_the_committed_release(centre, running):
    centre.roll_out(centre.publish(*make_release(version=2)))
    running.slots.provision(running.client.fetch()[0])  # and then the power goes
    again = Site(centre, "http://127.0.0.1:1/", running.folder)
    await again.updater.resume()
    assert again.scoring == {"coolant_pump": "coolant_pump/1"}


async def test_a_centre_that_is_away_is_no_refusal(centre, tmp_path):
    site = Site(centre, "http://127.0.0.1:1", tmp_path / "site")
    with pytest.raises(Retryable, match="image repository cannot be fetched"):
        site.client.fetch()
    outcome = await site.updater.apply()
    assert outcome.away
    assert site.record == []


async def test_a_release_for_a_newer_feature_code_is_refused(centre, running):
    centre.roll_out(centre.publish(*make_release(version=2)))
    release = running.client.fetch()[0]
    manifest = release.manifest.model_copy(update={"feature_spec_hash": "0" * 64})
    with pytest.raises(Untrusted, match="feature spec"):
        Scorer.load(manifest, release.model)
