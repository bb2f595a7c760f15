"""Every route of the web against every role and nobody: the real server, the application's own list."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from starlette.staticfiles import StaticFiles
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from control_plane.access.roles import GRANTS, Permission, Role
from control_plane.access.routes import RULES, WEBSOCKET, rule_for
from control_plane.api.desks import Desks
from control_plane.api.fleet_view import FleetView
from control_plane.audit.centre_log import CentreAct
from control_plane.console.app import create_app
from control_plane.layout import Layout
from shared.listen import free_port
from tests.support.console_lake import CONFIG, ConsoleLake, fleet
from tests.support.people import person, session
from tests.support.services import running

NOBODY = ""
CALLERS = (NOBODY, *Role)
SAMPLES = {"site": "TX01", "reactor": "R1", "component": "coolant_pump", "name": "none", "version": "1"}
DEADLINE_S = 60.0


class Route(NamedTuple):
    method: str
    path: str


def routes(of, prefix: str = "") -> Iterator[Route]:
    """The application's own, those of its mounts too; a mount without routes takes anything below it."""
    for route in of:
        if hasattr(route, "original_router"):  # FastAPI's include_router
            yield from routes(route.original_router.routes, prefix)
        elif getattr(route, "methods", None):
            yield from (Route(method, prefix + route.path) for method in route.methods - {"HEAD"})
        elif getattr(route, "routes", None):
            yield from routes(route.routes, prefix + route.path)
        else:
            yield from (Route(method, f"{prefix}{route.path}/{{rest:path}}") for method in ("GET", WEBSOCKET))


def sample(path: str) -> str:
    return re.sub(r"\{(\w+)(:path)?\}", lambda found: SAMPLES.get(found[1], "x"), path)


@pytest.fixture(scope="module")
def listed(tmp_path_factory) -> list[Route]:
    layout = Layout(tmp_path_factory.mktemp("listed"))
    desks = Desks.over(layout, fleet())
    view = FleetView(layout.lake, fleet(), desks.alerts.views)
    repository = StaticFiles(directory=layout.data_dir, check_dir=False)
    app = create_app(view, desks, access=layout.access(), mounts={"/repository/image": repository})
    return sorted(set(routes(app.routes)))


@pytest.fixture(scope="module")
def web(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """The console's address and the centre's folder, with an account for each role."""
    folder, port = tmp_path_factory.mktemp("centre"), free_port()
    ConsoleLake(folder / "lake").create()
    (folder / "fleet.yaml").write_text(CONFIG)
    for role in Role:
        person(folder, role.value, role)
    options = ["--config", str(folder / "fleet.yaml"), "--data-dir", str(folder)]
    serve = ["control-plane", "serve", "--part", "web", *options, "--listen", f"127.0.0.1:{port}"]
    with running(*serve, port=port):
        yield f"http://127.0.0.1:{port}", folder


def test_every_route_has_its_line_in_the_table(listed):
    """What the application answers is named by exactly one rule, and no rule names what is not there."""
    found = {route: rule_for(route.method, sample(route.path)) for route in listed}
    ours = {route: rule for route, rule in found.items() if not route.path.startswith("/_nicegui")}
    for route, rule in ours.items():
        if route.method == WEBSOCKET:
            assert rule is None, "no websocket but NiceGUI's"
        elif route.path.startswith("/repository/"):
            assert rule is not None
            assert rule.needs is Permission.LOCAL
        else:
            assert rule is not None, f"{route} is in no rule of access/routes.py"
            assert rule.path == route.path, f"{route} is judged by the rule of {rule.path}"
    assert all(rule.needs is Permission.SEE for rule in found.values() if rule and "_nicegui" in rule.path)
    reached = {(rule.path, route.method) for route, rule in found.items() if rule}
    added_at_start = {("/favicon.ico", "GET")}  # by NiceGUI
    sockets = {("/_nicegui_ws/{rest:path}", "POST")}  # where a browser has no websocket
    named = {(rule.path, method) for rule in RULES for method in rule.methods}
    assert named - reached - added_at_start - sockets == set()


def passes(route: Route, browser: httpx.Client, cookies: dict[str, str]) -> bool:
    """Whether the gate let it by, to whatever answer."""
    path, url = sample(route.path), str(browser.base_url)
    if route.method == WEBSOCKET:
        return opens(f"ws{url[4:]}{path}", url, cookies)
    headers = {"origin": url, "cookie": written(cookies)}
    answer = browser.request(route.method, path, headers=headers)
    refused = answer.status_code in (401, 403)
    return not refused and not answer.headers.get("location", "").startswith("/sign-in?")


def written(cookies: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def opens(address: str, origin: str, cookies: dict[str, str]) -> bool:
    address = address.replace("/x", "/socket.io/?EIO=4&transport=websocket")
    try:
        with connect(
            address, origin=origin, additional_headers={"cookie": written(cookies)}, open_timeout=DEADLINE_S
        ):
            return True
    except InvalidStatus as error:
        return error.response.status_code != 403


@pytest.mark.slow
@pytest.mark.parametrize("caller", CALLERS)
def test_each_role_reaches_what_the_table_grants_it_and_nothing_else(listed, web, caller):
    """Pages, API, NiceGUI's files and its websocket: let by exactly where the role holds the permission."""
    url, folder = web
    # A connection each: the server ends one that stood idle for 5 s, as on a busy machine.
    limits = httpx.Limits(max_keepalive_connections=0)
    wrong, browser = [], httpx.Client(base_url=url, timeout=DEADLINE_S, limits=limits)
    for route in listed:
        rule = rule_for(route.method, sample(route.path))
        if rule is None:
            continue  # a websocket that is none
        own = GRANTS[Role(caller)] | {Permission.SELF} if caller else frozenset()
        expected = rule.needs in own or rule.needs in (Permission.OPEN, Permission.LOCAL)
        cookies = session(folder, caller) if caller else {}
        if passes(route, browser, cookies) is not expected:
            wrong.append(f"{route.method} {route.path}: {'refused' if expected else 'let by'}")
    browser.close()
    assert wrong == []


@pytest.mark.slow
def test_a_refused_act_is_on_the_record_and_not_done(web):
    """A viewer acknowledges by the API: 403 with the role that may, and an entry with who and what."""
    url, folder = web
    answer = httpx.post(
        f"{url}/api/alerts/a1/acknowledge",
        json={},
        cookies=session(folder, Role.VIEWER),
        headers={"origin": url},
    )
    assert (answer.status_code, answer.json()["detail"]) == (403, "needs the role operator")
    entries = [e for e in Layout(folder).centre_log().entries() if e.act is CentreAct.ACCESS_REFUSED]
    told = {(e.subject, e.detail["reason"]) for e in entries}
    assert ("viewer", "POST /api/alerts/a1/acknowledge: needs the role operator") in told


def test_the_records_page_is_there_before_its_rows_are_counted(web):
    """Counting reads every row of the lake, which may take longer than a page may take to be built."""
    url, folder = web
    cookie = written(session(folder, Role.VIEWER.value))
    answer = httpx.get(f"{url}/completeness", headers={"cookie": cookie}, timeout=DEADLINE_S)
    assert answer.status_code == 200
    assert "Counting rows" in answer.text
