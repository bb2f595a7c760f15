"""History, audit record and model cards in the console: Debian's Chromium on the real web server."""

import os
import re
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from control_plane.layout import Layout
from shared.listen import free_port
from shared.schemas import ModelRef, utc_now
from tests.support.audited_centre import SITE, AuditedCentre, prediction
from tests.support.browser import page
from tests.support.console_lake import (
    CONFIG,
    OUTAGE_DAYS,
    PUMP,
    SEASON_DAYS,
    ConsoleLake,
    LivingFleet,
    season,
)
from tests.support.people import sign_in
from tests.support.releases import Centre, make_release
from tests.support.services import running

SEEN_WITHIN_MS = 60_000
DRAGS_MAX = 3
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("chromium")]


@pytest.fixture(scope="module")
def centre(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """A pump's season, a published release that it runs, its answers on record: address and folder."""
    folder = tmp_path_factory.mktemp("centre")
    made = Centre(folder)
    manifest, model = make_release(metrics={"mae_cycles": 9.5, "coverage": 0.91})
    made.publish(manifest, model)
    data = made.layout.data_dir
    record = AuditedCentre(data, ModelRef(name=manifest.name, version=1, sha256=manifest.sha256))
    record.more(4)
    with made.layout.audit_logger() as logger:
        logger.log_prediction(
            SITE, "R1", "coolant_pump", "1", [[1.0]], 7.25, utc_now(),
            model_name=manifest.name, model_sha256=manifest.sha256,
        )  # fmt: skip
    record.look()
    record.more(1)
    lake = ConsoleLake(data / "lake")
    lake.write(*season(utc_now()))
    LivingFleet(lake).history(1)
    (folder / "fleet.yaml").write_text(CONFIG)
    port = free_port()
    options = ["--config", str(folder / "fleet.yaml"), "--data-dir", str(data)]
    serve = ["control-plane", "serve", "--part", "web", *options, "--listen", f"127.0.0.1:{port}"]
    with running(*serve, port=port):
        yield f"http://127.0.0.1:{port}", data


@pytest.fixture
def console(centre) -> str:
    return centre[0]


@pytest.fixture
def own_id(centre) -> str:
    """Of what the centre's inference answered."""
    return Layout(centre[1]).inference_log().prediction_ids()[0]


def picture(found: Page, name: str) -> None:
    """Kept where a person wants to look at the pages."""
    if folder := os.environ.get("PICTURES"):
        found.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def dragged(found: Page, chart: Locator, start: float, end: float) -> None:
    """Drag over a chart's plot, from one share of its width to another."""
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    found.mouse.move(box["x"] + box["width"] * start, y)
    found.mouse.down()
    found.mouse.move(box["x"] + box["width"] * end, y, steps=4)
    found.mouse.up()


def dragged_until(found: Page, chart: Locator, span: Locator, words: str) -> None:
    """Drag as a person does: again, where the chart was drawn anew under the mouse."""
    for left in reversed(range(DRAGS_MAX)):
        dragged(found, chart, 0.6, 0.75)
        try:
            expect(span).to_contain_text(words, timeout=SEEN_WITHIN_MS / 2)
        except AssertionError:
            if not left:
                raise
        else:
            return


def test_a_season_is_seen_and_a_stretch_dragged_over_comes_up_finer(centre, console):
    """Months in one picture, with their gap and spike; dragging, buttons and the keyboard change the span."""
    with page() as found:
        sign_in(found, *centre)
        found.goto(f"{console}/component/{PUMP.key}", wait_until="networkidle")
        found.get_by_test_id("history").click()
        span = found.get_by_test_id("span")
        expect(span).to_contain_text("1 d 0 h", timeout=SEEN_WITHIN_MS)
        found.get_by_role("button", name="90 days").press("Enter")
        expect(span).to_contain_text("a point is the mean of", timeout=SEEN_WITHIN_MS)
        expect(span).to_contain_text("90 d 0 h")
        chart = found.get_by_test_id("chart-vibration_rms").locator("svg")
        expect(chart.get_by_text("12", exact=True)).to_be_attached(timeout=SEEN_WITHIN_MS)  # the spike's axis
        picture(found, "history")

        dragged_until(found, chart, span, "every one of")
        since = span.inner_text()[: len("2026-01-01")]
        expect(found).to_have_url(re.compile(f"from={since}"), timeout=SEEN_WITHIN_MS)
        zoomed = found.url
        found.get_by_role("button", name="Earlier").click()
        expect(span).not_to_contain_text("reading", timeout=SEEN_WITHIN_MS)

        found.goto(zoomed, wait_until="networkidle")  # the address leads back to the same span
        expect(span).to_contain_text("every one of", timeout=SEEN_WITHIN_MS)
        outage = utc_now() - timedelta(days=SEASON_DAYS - OUTAGE_DAYS[0] - 1)
        found.get_by_label("To (UTC)").fill(f"{outage + timedelta(days=1):%Y-%m-%dT%H:%M:%S}")
        expect(found.get_by_test_id("history-problem")).to_contain_text("before", timeout=SEEN_WITHIN_MS)
        found.get_by_label("From (UTC)").fill(f"{outage:%Y-%m-%dT%H:%M:%S}")
        expect(span).to_contain_text("nothing was recorded", timeout=SEEN_WITHIN_MS)
        expect(found.get_by_text("No number in this span").first).to_be_visible()


def test_a_prediction_is_looked_up_and_its_proof_is_green_amber_or_absent(centre, console):
    """From the component's list, by typing, and for an id that no record holds."""
    with page() as found:
        sign_in(found, *centre)
        found.goto(f"{console}/component/{PUMP.key}?minutes=60", wait_until="networkidle")
        link = found.get_by_test_id("newest").locator("a").first
        expect(link).to_be_visible(timeout=SEEN_WITHIN_MS)
        link.click()
        expect(found.get_by_test_id("audit-problem")).to_contain_text("No entry", timeout=SEEN_WITHIN_MS)

        for number, state, words in ((2, "holds", "Proven"), (4, "not_checked", "Not proven yet")):
            found.get_by_label("Prediction id").fill(prediction(number).prediction_id)
            found.get_by_label("Prediction id").press("Enter")
            record = found.get_by_test_id("audit-record")
            expect(record).to_contain_text(f"entry {number} of {SITE}", timeout=SEEN_WITHIN_MS)
            proof = found.get_by_test_id("proof")
            expect(proof).to_have_attribute("data-state", state)
            expect(proof).to_contain_text(words)
            expect(found.get_by_test_id("proof-step")).to_have_count(6)
            picture(found, f"audit-{state}")
        expect(proof).to_contain_text("covers the first 4")


def test_a_prediction_of_the_centres_own_inference_is_proven_on_the_same_page(centre, console, own_id):
    """By its id, as a site's: what the service answered, and the steps to both signatures."""
    with page() as found:
        sign_in(found, *centre)
        found.goto(f"{console}/audit?id={own_id}", wait_until="networkidle")
        record = found.get_by_test_id("audit-record")
        expect(record).to_contain_text("entry 0 of the centre's inference", timeout=SEEN_WITHIN_MS)
        expect(record).to_contain_text("7.25 cycles")
        expect(found.get_by_test_id("proof")).to_have_attribute("data-state", "holds")
        expect(found.get_by_test_id("proof")).to_contain_text("The log's signature")


def test_an_inspector_takes_a_sites_record_away(centre, console, tmp_path):
    """The page's form gives the zip with the report, and it is on the centre's record."""
    with page() as found:
        sign_in(found, *centre)
        found.goto(f"{console}/audit", wait_until="networkidle")
        found.get_by_label("Site").select_option(SITE)
        with found.expect_download(timeout=SEEN_WITHIN_MS) as taken:
            found.get_by_role("button", name="Download the record").click()
        expect(found.get_by_text("The record is being made")).to_be_visible()  # for as long as it takes
        taken.value.save_as(tmp_path / "record.zip")
    with zipfile.ZipFile(tmp_path / "record.zip") as archive:
        assert f"Audit record of {SITE}" in archive.read(f"{SITE}/report.html").decode()
    *_, entry = Layout(centre[1]).centre_log().entries()
    assert (entry.act, entry.subject) == ("record_exported", SITE)


def test_a_release_has_a_card_that_names_who_approved_it(centre, console):
    """The list, the card, and a card that is not there."""
    with page("dark", width=390, height=844) as found:
        sign_in(found, *centre)
        found.goto(f"{console}/models", wait_until="networkidle")
        row = found.get_by_test_id("models").locator("tbody tr")
        expect(row).to_contain_text("alice, carol (2 of 3)", timeout=SEEN_WITHIN_MS)
        row.get_by_role("link").click()
        expect(found.get_by_test_id("approval")).to_contain_text(
            "2 of 3: alice, bob, carol", timeout=SEEN_WITHIN_MS
        )
        expect(found.get_by_test_id("metrics")).to_contain_text("share of true RULs inside the interval")
        expect(found.get_by_text("It is no safety function")).to_be_visible()
        assert found.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        picture(found, "card-small")
        found.goto(f"{console}/models/coolant_pump/9", wait_until="networkidle")
        expect(found.get_by_text("no release coolant_pump/9 is published")).to_be_visible(
            timeout=SEEN_WITHIN_MS
        )
