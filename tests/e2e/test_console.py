"""The console as a person sees it: Debian's Chromium on the real web server, over a lake that lives."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from control_plane.ingest.progress import FILE_NAME, Progress
from shared.listen import free_port
from shared.schemas import utc_now
from tests.support.browser import page
from tests.support.console_lake import CONFIG, EXCHANGER, PUMP, ConsoleLake, LivingFleet, alert, gap
from tests.support.people import sign_in
from tests.support.services import running

SEEN_WITHIN_MS = 60_000
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("chromium")]


class Living:
    """A fleet that goes on; `silent` components and `stopped` sites stop sending."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lake = folder, ConsoleLake(folder / "lake").create()
        self._fleet = LivingFleet(self.lake)
        self._fleet.history(2)
        self._lock = threading.Lock()
        self.silent = set()

    def tick(self) -> None:
        with self._lock:
            self._fleet.tick(self.silent)

    def tell(self, record) -> None:
        with self._lock:
            self.lake.write(record)


@contextmanager
def ticking(living: Living) -> Iterator[None]:
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(1.0):
            living.tick()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    stop.set()
    thread.join()


@contextmanager
def console(folder: Path) -> Iterator[tuple[Living, str]]:
    """A living fleet and the address of a console that shows it."""
    living, port = Living(folder), free_port()
    (folder / "fleet.yaml").write_text(CONFIG)
    options = ["--config", str(folder / "fleet.yaml"), "--data-dir", str(folder)]
    serve = ["control-plane", "serve", "--part", "web", *options, "--listen", f"127.0.0.1:{port}"]
    with ticking(living), running(*serve, port=port):
        yield living, f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Iterator[tuple[Living, str]]:
    """One for several tests: only the first expects that there is no alert, or has one."""
    with console(tmp_path_factory.mktemp("fleet")) as found:
        yield found


def open_console(found: Page, url: str, living: Living) -> None:
    sign_in(found, url, living.folder)
    found.goto(url, wait_until="networkidle")
    expect(found.get_by_test_id("fleet")).to_be_visible(timeout=SEEN_WITHIN_MS)


def test_the_fleet_is_seen_an_alert_arrives_and_a_component_opens(fleet):
    living, url = fleet
    with page() as found:
        open_console(found, url, living)
        for key in ("TX01/R1/coolant_pump", "TX01/R2/heat_exchanger", "ID01/R1/coolant_pump"):
            card = found.get_by_test_id(f"component-{key}")
            expect(card).to_contain_text("RUL")
            expect(card).to_contain_text("v3")  # the model's version
        expect(found.get_by_test_id("component-TX01/R2/heat_exchanger")).to_contain_text("timeout")
        expect(found.get_by_test_id("alert-row")).to_have_count(0)

        living.tell(alert(PUMP, utc_now()))

        expect(found.get_by_test_id("alert-row")).to_have_count(1, timeout=SEEN_WITHIN_MS)
        expect(found.get_by_test_id("alert-row")).to_contain_text("Anomaly score 7.4")
        found.get_by_test_id("component-TX01/R1/coolant_pump").click()
        expect(found.get_by_role("heading", name="Coolant pump")).to_be_visible(timeout=SEEN_WITHIN_MS)
        for name in ("rul", "anomaly", "vibration_rms"):
            expect(found.get_by_test_id(f"chart-{name}").locator("svg path").first).to_be_attached(
                timeout=SEEN_WITHIN_MS
            )
        expect(found.get_by_test_id("contributions")).to_contain_text("normal: \N{MINUS SIGN}23 cycles")


def test_an_event_is_one_row_and_a_shelved_alert_is_said_to_be_shelved(tmp_path):
    """Two alerts of one event are a row with a part; what an operator put aside stands apart, in words."""
    with console(tmp_path) as (living, url), page() as found:
        living.tell(alert(PUMP, utc_now()))
        living.tell(
            alert(PUMP, utc_now(), "a2", kind="rul_low", subject="rul", message="RUL 8", event_id="a1")
        )
        sign_in(found, url, living.folder)
        found.goto(f"{url}/alerts", wait_until="networkidle")
        expect(found.get_by_test_id("alert-part")).to_contain_text("Anomaly", timeout=SEEN_WITHIN_MS)
        expect(found.get_by_test_id("alert-row")).to_have_count(1)
        now = utc_now()
        put_aside = {"operator": "A. Reyes", "reason": "being repaired", "until": now + timedelta(hours=1)}
        living.tell(alert(PUMP, now, state="shelved", **put_aside))
        expect(found.get_by_text("by A. Reyes: being repaired")).to_be_visible(timeout=SEEN_WITHIN_MS)
        expect(found.get_by_text("Shelved", exact=True)).to_have_count(
            3
        )  # the count, the section and the alert
        expect(found.get_by_test_id("alert-row")).to_have_count(2)


def test_what_falls_silent_is_said_to_be_and_its_old_number_is_not_shown(fleet):
    living, url = fleet
    with page() as found:
        open_console(found, url, living)
        card = found.get_by_test_id(f"component-{EXCHANGER.key}")
        expect(card.locator(".figure-number").first).to_be_visible()
        living.silent.add(EXCHANGER)
        expect(card.get_by_test_id("stale")).to_contain_text("No data for", timeout=SEEN_WITHIN_MS)
        expect(card.locator(".figure-number").first).to_be_hidden()
        living.silent.clear()


def test_a_console_that_is_gone_leaves_no_number_looking_current(tmp_path):
    with page() as found:
        with console(tmp_path) as (living, url):
            open_console(found, url, living)
            expect(found.get_by_test_id("offline")).to_be_hidden()
        expect(found.get_by_test_id("offline")).to_be_visible(timeout=SEEN_WITHIN_MS)


def test_the_page_follows_the_systems_theme_and_fits_a_small_screen(fleet):
    living, url = fleet
    for scheme in ("light", "dark"):
        with page(scheme, width=390, height=844) as found:
            open_console(found, url, living)
            colour = found.evaluate("getComputedStyle(document.body).backgroundColor")
            bright = sum(int(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]) > 384
            assert bright == (scheme == "light"), colour
            assert found.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_lost_rows_show_as_unexplained_and_given_up_rows_with_their_reason(fleet):
    living, url = fleet
    living.tell(gap("ID01", utc_now(), count=3))
    progress = Progress(living.folder / "lake" / FILE_NAME)
    progress.note_settled("store-TX01", 10)  # rows of both sites share one count: each site's has holes
    progress.caught_up()
    progress.save()
    with page() as found:
        sign_in(found, url, living.folder)
        found.goto(f"{url}/completeness", wait_until="networkidle")
        expect(found.get_by_test_id("account-TX01")).to_contain_text(
            "Unexplained loss", timeout=SEEN_WITHIN_MS
        )
        expect(found.get_by_test_id("account-ID01")).to_contain_text("2 outbox full")
