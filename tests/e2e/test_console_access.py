"""What a person meets at the console: the sign-in, only what their role may press, keys, small screens."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from control_plane.access.roles import Role
from control_plane.access.routes import RULES
from control_plane.audit.centre_log import CentreAct
from control_plane.layout import Layout
from shared.listen import free_port
from shared.schemas import ModelRef, Severity, utc_now
from tests.support.audited_centre import AuditedCentre, prediction
from tests.support.browser import page
from tests.support.console_lake import CONFIG, EXCHANGER, PUMP, ConsoleLake, LivingFleet, alert
from tests.support.people import person, sign_in
from tests.support.releases import Centre, make_release
from tests.support.services import running

SEEN_WITHIN_MS = 60_000
SMALL, TABLET = {"width": 390, "height": 844}, {"width": 768, "height": 1024}
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("chromium")]


@pytest.fixture(scope="module")
def console(tmp_path_factory) -> Iterator[tuple[str, Path, ConsoleLake]]:
    """A console over a fleet with alerts, a release and an audited prediction: address, folder and lake."""
    folder = tmp_path_factory.mktemp("centre")
    made = Centre(folder)
    manifest, model = make_release(metrics={"mae_cycles": 9.5})
    made.publish(manifest, model)
    data = made.layout.data_dir
    record = AuditedCentre(data, ModelRef(name=manifest.name, version=1, sha256=manifest.sha256))
    record.more(2)
    record.look()
    lake = ConsoleLake(data / "lake")
    LivingFleet(lake).history(1)
    raised = utc_now() - timedelta(seconds=40)
    lake.write(
        alert(PUMP, raised, "alarm-1", message="RUL 8 cycles", severity=Severity.ALARM),
        alert(EXCHANGER, raised + timedelta(seconds=20), "warning-1", severity=Severity.WARNING),
    )
    (folder / "fleet.yaml").write_text(CONFIG)
    port = free_port()
    options = ["--config", str(folder / "fleet.yaml"), "--data-dir", str(data)]
    serve = ["control-plane", "serve", "--part", "web", *options, "--listen", f"127.0.0.1:{port}"]
    with running(*serve, port=port):
        yield f"http://127.0.0.1:{port}", data, lake


def open_as(found: Page, console, role: Role, path: str) -> None:
    url, data, _ = console
    found.context.clear_cookies()
    sign_in(found, url, data, role.value, role)
    found.goto(url + path, wait_until="networkidle")


def test_no_page_shows_a_button_that_its_user_may_not_press(console):
    """Acknowledging is the operators' and the audit page the auditors'; others see neither button nor way."""
    with page() as found:
        for role in (Role.VIEWER, Role.OPERATOR, Role.AUDITOR):
            open_as(found, console, role, "/alerts")
            expect(found.get_by_test_id("alert-row").first).to_be_visible(timeout=SEEN_WITHIN_MS)
            may = role is Role.OPERATOR
            expect(found.get_by_test_id("acknowledge")).to_have_count(2 if may else 0)
            expect(found.get_by_role("link", name="Audit", exact=True)).to_have_count(
                int(role is Role.AUDITOR)
            )


def test_who_loses_the_role_while_the_page_is_open_presses_in_vain(console):
    """The button is still there; the act is refused, says why, and is on the record."""
    url, data, _ = console
    desk = person(data, "leaver", Role.OPERATOR)
    with page() as found:
        sign_in(found, url, data, "leaver")
        found.goto(f"{url}/alerts", wait_until="networkidle")
        found.get_by_test_id("acknowledge").first.click()
        expect(found.get_by_label("Note")).to_be_visible(timeout=SEEN_WITHIN_MS)
        desk.accounts.disable("leaver", by="test")
        expect(found.get_by_role("heading", name="Sign in")).to_be_visible(timeout=SEEN_WITHIN_MS)
    assert all(each.to_acknowledge for each in Layout(data).alert_store().views())


def axe_problems(found: Page) -> list[str]:
    """Serious and critical violations of WCAG that axe-core finds."""
    results = Axe().run(found).response["violations"]
    return [
        f"{each['id']} ({each['impact']}): {json.dumps([node['html'][:200] for node in each['nodes'][:4]])}"
        for each in results
        if each["impact"] in ("serious", "critical")
    ]


PAGES = (
    "/", "/alerts", "/completeness", "/rollouts", "/models", "/models/coolant_pump/1", "/models/none/1",
    f"/component/{PUMP.key}", "/component/TX01/R1/none", f"/history/{PUMP.key}",
    f"/audit?id={prediction(1).prediction_id}", "/account", "/password", "/sign-in", "/nothing-here",
)  # fmt: skip


NO_PAGES = ("/api/", "/_nicegui", "/repository/", "/healthz", "/favicon.ico", "/sign-in/oidc")


def path_of(address: str) -> str:
    return address.partition("?")[0]


def test_axe_finds_nothing_serious_and_no_page_is_wider_than_a_phone_or_a_tablet(console):
    """Every page, empty and error states too, in both themes; at 390 and 768 px nothing is moved sideways."""
    url, data, _ = console
    pages = [rule for rule in RULES if "GET" in rule.methods and not rule.path.startswith(NO_PAGES)]
    assert [rule.path for rule in pages if not any(map(rule.pattern.fullmatch, map(path_of, PAGES)))] == []
    wrong = {}
    with page(**SMALL) as found:
        sign_in(found, url, data)
        for path in PAGES:
            found.goto(url + path, wait_until="networkidle")
            problems = []
            for scheme in ("light", "dark"):
                found.emulate_media(color_scheme=scheme)
                problems += [f"{scheme}: {each}" for each in axe_problems(found)]
            for size in (TABLET, SMALL):
                found.set_viewport_size(size)
                if not found.evaluate("document.documentElement.scrollWidth <= window.innerWidth"):
                    problems.append(f"wider than the screen of {size['width']}")
            if problems:
                wrong[path] = problems
    assert wrong == {}, json.dumps(wrong, indent=1)


def test_an_alarm_is_acknowledged_by_keys_alone(console):
    """From the row by A, a note, Enter: done in the operator's name, and the row has the focus again."""
    _, data, _ = console
    with page() as found:
        open_as(found, console, Role.OPERATOR, "/alerts")
        rows = found.locator("[data-alert]")
        expect(rows.first).to_contain_text("Priority 1 · active, unacknowledged", timeout=SEEN_WITHIN_MS)
        counts = found.get_by_test_id("alarm-counts")
        expect(counts).to_contain_text("2Unacknowledged")
        rows.first.focus()
        found.keyboard.press("ArrowDown")
        expect(rows.nth(1)).to_be_focused()
        found.keyboard.press("ArrowUp")
        found.keyboard.press("a")
        expect(found.get_by_label("Note")).to_be_focused(timeout=SEEN_WITHIN_MS)
        found.keyboard.type("crew is on its way")
        found.keyboard.press("Enter")
        expect(rows.first).to_contain_text("acknowledged by operator", timeout=SEEN_WITHIN_MS)
        expect(rows.first).to_be_focused(timeout=SEEN_WITHIN_MS)
        expect(counts).to_contain_text("1Acknowledged")
        found.get_by_role("button", name="Newest first").click()
        expect(rows.first).to_contain_text("Priority 2", timeout=SEEN_WITHIN_MS)
    noted = [e for e in Layout(data).centre_log().entries() if e.act is CentreAct.ALERT_ACKNOWLEDGED]
    assert [(e.subject, e.detail["by"]) for e in noted] == [("alarm-1", "operator")]
