"""The operator's alarm list in a real browser: an alert is taken on by name, and stays so."""

import json
import urllib.request
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from control_plane.access.roles import Role
from control_plane.audit.centre_log import CentreAct
from control_plane.layout import Layout
from shared.listen import free_port
from shared.schemas import utc_now
from tests.support.browser import page
from tests.support.console_lake import CONFIG, PUMP, ConsoleLake, alert
from tests.support.people import person, sign_in
from tests.support.services import running

SEEN_WITHIN_MS = 60_000
pytestmark = pytest.mark.slow


def post(url, body, token):
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_an_alert_is_acknowledged_by_name_and_stays_so(tmp_path):
    """On the page: name and note, survives a reload; by the API: 404, 409 and 422 say what was wrong."""
    lake, port = ConsoleLake(tmp_path / "lake").create(), free_port()
    (tmp_path / "fleet.yaml").write_text(CONFIG)
    lake.write(alert(PUMP, utc_now() - timedelta(seconds=20), "seen-by-nobody"))
    options = ["--config", str(tmp_path / "fleet.yaml"), "--data-dir", str(tmp_path)]
    serve = ["control-plane", "serve", "--part", "web", *options, "--listen", f"127.0.0.1:{port}"]
    with running(*serve, port=port), page() as found:
        url = f"http://127.0.0.1:{port}"
        sign_in(found, url, tmp_path)
        found.goto(f"{url}/alerts", wait_until="networkidle")
        row = found.get_by_test_id("alert-row")
        expect(row).to_contain_text("not acknowledged", timeout=SEEN_WITHIN_MS)
        row.get_by_test_id("acknowledge").click()
        found.get_by_label("Note").fill("crew is on its way")
        found.get_by_test_id("acknowledge-send").click()
        said = "acknowledged by A. Reyes"
        expect(row).to_contain_text(said, timeout=SEEN_WITHIN_MS)
        expect(found.get_by_test_id("acknowledge-form")).to_be_hidden()
        found.reload(wait_until="networkidle")
        expect(row).to_contain_text(said, timeout=SEEN_WITHIN_MS)
        expect(row).to_contain_text("crew is on its way")
        expect(found.get_by_test_id("acknowledge")).to_have_count(0)

        lake.write(alert(PUMP, utc_now(), "seen-by-nobody", state="cleared"))
        expect(found.get_by_text("No alert needs anybody.")).to_be_visible(timeout=SEEN_WITHIN_MS)

        token = person(tmp_path, "B. Ito", Role.OPERATOR).tokens.add(
            "B. Ito", "phone", ["acknowledge"], 1, by="B. Ito"
        )

        def acknowledge(alert_id, **body):
            return post(f"{url}/api/alerts/{alert_id}/acknowledge", body, token)

        assert acknowledge("nobody")[0] == 404
        assert acknowledge("seen-by-nobody") == (
            409,
            {"detail": "alert seen-by-nobody has cleared; there is nothing to acknowledge"},
        )
        assert acknowledge("seen-by-nobody", who="C. Else")[0] == 422  # in whose name, says the token
        lake.write(alert(PUMP, utc_now(), "b"))
        status, view = acknowledge("b", note="going there")
        assert (status, view["status"], view["acknowledgement"]["note"]) == (
            200,
            "acknowledged",
            "going there",
        )
    entries = Layout(tmp_path).centre_log().entries()
    noted = [(e.act, e.subject, e.detail["by"]) for e in entries if e.act is CentreAct.ALERT_ACKNOWLEDGED]
    assert noted == [
        ("alert_acknowledged", "seen-by-nobody", "A. Reyes"),
        ("alert_acknowledged", "b", "B. Ito"),
    ]
