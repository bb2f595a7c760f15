"""Roll-outs in the console: Debian's Chromium on the real web server, a real journal and repository."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from control_plane.access.roles import Role
from control_plane.audit.centre_log import CentreAct
from control_plane.release.controller import Controller
from control_plane.release.journal import Event, Kind
from control_plane.release.rollout import states
from control_plane.release.rollout_plan import Plan
from control_plane.release.rollout_requests import Requests
from control_plane.sinks.lake import LakeWriter
from shared.listen import free_port
from shared.schemas import utc_now
from tests.support.browser import page
from tests.support.console_lake import CONFIG
from tests.support.people import REYES, sign_in
from tests.support.releases import Centre, make_release, write_release
from tests.support.services import running

SEEN_WITHIN_MS = 60_000
SITES = ("TX01", "ID01", "WY01")
pytestmark = pytest.mark.slow


class World:
    """A centre whose canary tries release 2, and a proposal that one person has approved."""

    def __init__(self, folder: Path) -> None:
        self.centre = Centre(folder, SITES)
        self.layout, self.store = self.centre.layout, self.centre.layout.store()
        LakeWriter(self.layout.lake).create()
        self.centre.roll_out(self.centre.publish(*make_release()))
        self.centre.publish(*make_release(version=2, bias=5))
        keys = {site: self.centre.signer(f"director-{site}") for site in SITES}
        self.controller = Controller(self.layout.repository, self.store, keys, self.layout.centre_log())
        requests = Requests(self.layout.repository, self.store, self.layout.centre_log(), "dave")
        plan = Plan(canary=("TX01",), rings_percent=(50,))
        self.rollout_id = requests.start("coolant_pump/2", SITES, plan, whole_fleet=True)
        self.controller.tick(utc_now())
        self.say(Kind.TRYING, "coolant_pump/2")
        release = write_release(folder / "third", *make_release(version=3, bias=6))
        self.centre.approve(self.centre.propose(release), "alice")

    def say(self, kind: Kind, detail: str) -> None:
        generation = self.rollout().sites["TX01"].generation
        self.store.append([Event(self.rollout_id, generation, "TX01", kind, detail, utc_now())])

    def rollout(self):
        return states(line.event for line in self.store.events())[self.rollout_id]


@pytest.fixture
def world(tmp_path) -> Iterator[tuple[World, str]]:
    found, port = World(tmp_path), free_port()
    (tmp_path / "fleet.yaml").write_text(CONFIG)
    options = ["--config", str(tmp_path / "fleet.yaml"), "--data-dir", str(found.layout.data_dir)]
    serve = ["control-plane", "serve", "--part", "web", *options, "--listen", f"127.0.0.1:{port}"]
    with running(*serve, port=port):
        yield found, f"http://127.0.0.1:{port}/rollouts"


def test_a_roll_out_is_seen_held_and_taken_back_and_who_has_to_sign_is_named(world):
    """Rings, sites, gates with why; buttons act in the name of who is signed in; who signed, who could."""
    found, url = world
    with page() as shown:
        card = shown.get_by_test_id(f"rollout-{found.rollout_id}")
        sign_in(shown, url, found.layout.data_dir, "onlooker", Role.VIEWER)
        shown.goto(url, wait_until="networkidle")
        expect(card.get_by_test_id("ring-0")).to_be_visible(timeout=SEEN_WITHIN_MS)
        expect(card.get_by_role("button")).to_have_count(0)
        sign_in(shown, url, found.layout.data_dir, REYES, Role.ENGINEER)
        shown.goto(url, wait_until="networkidle")
        expect(card.get_by_test_id("ring-0")).to_contain_text("tries it", timeout=SEEN_WITHIN_MS)
        expect(card.get_by_test_id("ring-1")).to_contain_text("waiting")
        row = shown.get_by_test_id("proposals").locator("tbody tr")
        for text in ("coolant_pump/3", "1 of 2", "alice", "bob, carol"):
            expect(row).to_contain_text(text)

        card.get_by_test_id("pause").click()
        expect(card).to_contain_text(f"paused by {REYES}", timeout=SEEN_WITHIN_MS)
        assert found.rollout().paused == REYES
        card.get_by_test_id("resume").click()
        expect(card.get_by_test_id("pause")).to_be_visible(timeout=SEEN_WITHIN_MS)

        card.get_by_test_id("abort").click()  # asked twice
        expect(card.get_by_test_id("abort")).to_contain_text("Yes, roll back", timeout=SEEN_WITHIN_MS)
        assert found.rollout().state == "running"
        if folder := os.environ.get("PICTURES"):
            shown.screenshot(path=f"{folder}/rollouts.png", full_page=True)
        card.get_by_test_id("keep").click()
        expect(card.get_by_test_id("abort")).to_have_text("Roll back", timeout=SEEN_WITHIN_MS)
        card.get_by_test_id("abort").click()
        expect(card.get_by_test_id("abort")).to_have_text("Yes, roll back", timeout=SEEN_WITHIN_MS)
        card.get_by_test_id("abort").click()
        expect(card).to_contain_text(f"Goes back: aborted by {REYES}", timeout=SEEN_WITHIN_MS)
        found.controller.tick(utc_now())
        expect(card).to_contain_text("going back", timeout=SEEN_WITHIN_MS)
        found.say(Kind.COMMITTED, "coolant_pump/1")
        row = card.get_by_test_id("rollout-sites").locator("tbody tr").first
        expect(row).not_to_contain_text("going back", timeout=SEEN_WITHIN_MS)
        expect(card.get_by_test_id("abort")).to_have_count(0)
    entries = found.layout.centre_log().entries()
    acts = [e.act for e in entries if e.act.startswith("rollout_") and e.detail.get("by") == REYES]
    assert acts == [CentreAct.ROLLOUT_PAUSED, CentreAct.ROLLOUT_RESUMED, CentreAct.ROLLOUT_ABORTED]
