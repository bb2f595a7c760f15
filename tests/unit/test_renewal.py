"""Metadata that would stop updates by its age alone is signed anew in time (issue 7)."""

import asyncio
from datetime import timedelta

import pytest
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from control_plane.audit.centre_log import CentreAct
from control_plane.release.director_keys import DirectorKeys
from control_plane.release.metadata_files import OFFLINE_EXPIRY, load
from control_plane.release.renewal import RENEW_BEFORE, keep_fresh, renew_due
from shared.schemas import utc_now
from tests.support.releases import PASSPHRASE, Centre, make_release

DAY = timedelta(days=1)


@pytest.fixture
def centre(tmp_path):
    centre = Centre(tmp_path, ("TX01", "ID01"))
    centre.roll_out(centre.publish(*make_release()))
    return centre


def signers(centre):
    return dict(DirectorKeys(centre.keys, PASSPHRASE).by_name)


def expired(centre, now):
    """Roles that a client would refuse for their age at `now`."""
    folders = [centre.metadata("image", ""), *centre.layout.repository.glob("director/*/metadata")]
    roles = (("root", Root), ("targets", Targets), ("snapshot", Snapshot), ("timestamp", Timestamp))
    return [
        f"{folder.parent.name} {name}"
        for folder in folders
        for name, kind in roles
        if load(folder / f"{name}.json", kind).signed.is_expired(now)
    ]


def test_a_site_runs_for_a_year_on_one_ceremony(centre):
    """Nothing expires while the service looks in once a week, and people are told sixty days ahead."""
    start, keys = utc_now(), signers(centre)
    for day in range(0, 393, 7):
        found = renew_due(centre.layout.repository, keys, start + day * DAY)
        assert expired(centre, start + (day + 6.9) * DAY) == [], day
        assert bool(found.problems) is (day > 340), (day, found.problems)
    assert "its key holders must sign a new one" in found.problems["image"]
    assert set(found.problems) == {"image", "director/TX01", "director/ID01"}


def test_what_is_fresh_is_left_alone(centre):
    """A renewal costs every site a download."""
    assert renew_due(centre.layout.repository, signers(centre)).renewed == []
    later = utc_now() + RENEW_BEFORE + DAY
    found = renew_due(centre.layout.repository, signers(centre), later)
    assert (found.renewed, found.problems) == (["image", "director/ID01", "director/TX01"], {})
    assert renew_due(centre.layout.repository, signers(centre), later).renewed == []


def test_a_renewed_director_still_says_the_same(centre):
    path = centre.layout.repository / "director/TX01/metadata/targets.json"
    before = load(path, Targets).signed
    renew_due(centre.layout.repository, signers(centre), utc_now() + RENEW_BEFORE + DAY)
    after = load(path, Targets).signed
    assert (after.targets, after.version) == (before.targets, before.version + 1)


def test_a_key_that_is_not_here_is_asked_for(centre):
    """One site's director key is missing, another is not its director's: the others are renewed."""
    keys = signers(centre)
    del keys["director-TX01"]
    keys["director-ID01"] = centre.signer("online")
    found = renew_due(centre.layout.repository, keys, utc_now() + RENEW_BEFORE + DAY)
    assert found.renewed == ["image"]
    assert "the key to renew it is not here" in found.problems["director/TX01"]
    assert "the key to renew it is not its key" in found.problems["director/ID01"]


def test_a_clock_that_went_back_signs_nothing(centre):
    """What was signed lies in this clock's future: a renewal would shorten it, at a version of its own."""
    found = renew_due(centre.layout.repository, signers(centre), utc_now() - 40 * DAY)
    assert found.renewed == []
    assert all("the clock is wrong" in problem for problem in found.problems.values())
    assert len(found.problems) == 3


async def test_the_service_renews_and_says_so_once(centre, monkeypatch):
    """Every renewal is on the centre's record; a standing problem is there once, not at every look."""
    later = utc_now() + OFFLINE_EXPIRY - 50 * DAY
    monkeypatch.setattr("control_plane.release.renewal.utc_now", lambda: later)
    monkeypatch.setattr("control_plane.release.renewal.LOOK_PERIOD_S", 0.01)
    stop = asyncio.Event()
    task = asyncio.create_task(keep_fresh(centre.layout, {"online": centre.signer("online")}, stop))
    log = centre.layout.centre_log()
    async with asyncio.timeout(60):
        while len(log.entries()) < 4:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # a few more looks
    stop.set()
    await task
    entries = log.entries()
    assert [each.subject for each in entries if each.act is CentreAct.METADATA_RENEWED] == ["image"]
    told = [each.subject for each in entries if each.act is CentreAct.METADATA_EXPIRING]
    assert sorted(told) == ["director/ID01", "director/TX01", "image"]
