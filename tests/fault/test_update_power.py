"""The power goes in the middle of an update: a committed release boots, and the next look completes it."""

import asyncio
import json
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.update import ModelSlots
from tests.support.faulty_disk import FaultyDisk
from tests.support.releases import Centre, make_release
from tests.support.update_site import TrialSite
from tests.support.web import served

STRIDE = 5  # of the steps to be killed at; `python -m tests.support.killed_update` takes every one
SEED = 11
DEADLINE_S = 300.0


@pytest.fixture
async def site(tmp_path):
    """A site that scores with coolant_pump/1, and a centre that names coolant_pump/2."""
    centre = Centre(tmp_path)
    with served(centre.layout.repository) as url:
        site = TrialSite(centre, url, tmp_path / "site")
        centre.roll_out(centre.publish(*make_release()))
        await site.look()
        centre.roll_out(centre.publish(*make_release(version=2, bias=5)))
        yield site


@pytest.mark.parametrize("ending", ["commit", "roll_back"])
async def test_an_update_that_is_killed_at_any_step_leaves_a_site_that_boots_and_completes_it(site, ending):
    """Every write, cut and flush of SQLite, every file written, renamed, removed or flushed, in turn."""
    repository = site.centre.layout.repository
    words = [str(site.folder), str(site.trust), str(repository), ending, str(STRIDE), str(SEED % STRIDE)]
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "tests.support.killed_update", *words],
        cwd=Path(__file__).parents[2], capture_output=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    found = json.loads(done.stdout)
    assert found["failures"] == {}
    assert found["killed"] > 20


async def test_power_lost_at_any_write_of_the_slots_leaves_a_committed_release(site, tmp_path):
    """Of what was not flushed any sectors may be there: the slots hold one release or the other, whole."""
    release = site.client.fetch()[0]
    before = {
        path.name: path.read_bytes() for path in site.folder.iterdir() if path.name.startswith("models")
    }
    failed_at = 0
    while True:
        folder, left = tmp_path / f"a{failed_at}", tmp_path / f"b{failed_at}"
        folder.mkdir()
        for name, data in before.items():
            (folder / name).write_bytes(data)
        disk = FaultyDisk()
        with disk.mounted():
            slots = ModelSlots(folder, site.trust)
            disk.fail_at, disk.lasting = failed_at, True
            try:
                slots.provision(release)
                slots.commit("coolant_pump", watched=True)
            except sqlite3.Error:  # whatever it says of such a disk; at a file's end it says nothing
                pass
            disk.power_lost(folder, left, random.Random(failed_at))
        if not disk.failed:
            break
        releases, problems = ModelSlots(left, site.trust).committed()
        assert problems == []
        assert [r.manifest.folder for r in releases] in (["coolant_pump/1"], ["coolant_pump/2"])
        failed_at += 1
    assert failed_at > 20
