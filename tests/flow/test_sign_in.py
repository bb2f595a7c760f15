"""Signing in at the web: forms, cookies, sessions that end, and a real OpenID provider process."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi import FastAPI, WebSocket
from httpx import ASGITransport, AsyncClient, Client

from control_plane.access.account_routes import account_router
from control_plane.access.desk import AccessDesk
from control_plane.access.gate import Gate
from control_plane.access.limits import PER_ADDRESS_MAX
from control_plane.access.live_page import ENDED
from control_plane.access.oidc_routes import oidc_router
from control_plane.access.oidc_settings import OidcSettings, oidc_settings
from control_plane.access.roles import Role
from control_plane.access.sign_in_routes import sign_in_router
from control_plane.layout import Layout
from control_plane.serving.tokens import LOOK_PERIOD_S
from shared.listen import free_port
from tests.support.people import COOKIE, PASSWORD, person, quick_hashes
from tests.support.services import BIN, wait_for_port

URL = "http://127.0.0.1:8080"
OWN = {"origin": URL}


def web(desk: AccessDesk, oidc: OidcSettings | None = None) -> FastAPI:
    """The sign-in, one route of the API and one live page, behind the gate."""
    app = FastAPI()
    for router in (
        sign_in_router(desk, oidc.name if oidc else ""),
        oidc_router(desk, oidc),
        account_router(desk),
    ):
        app.include_router(router)

    @app.get("/api/fleet")
    async def fleet() -> str:
        return "fleet"

    @app.websocket("/_nicegui_ws/socket.io/")
    async def page(socket: WebSocket) -> None:
        await socket.accept()
        while True:
            await socket.send_text("now")
            await asyncio.sleep(0.02)

    app.add_middleware(Gate, desk=desk)
    return app


def browser(app: FastAPI, url: str = URL) -> AsyncClient:
    return AsyncClient(transport=ASGITransport(app=app), base_url=url, headers={"origin": url})


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with quick_hashes():
        yield


@pytest.fixture
def desk(tmp_path) -> AccessDesk:
    return person(tmp_path, "ito", Role.OPERATOR)


def acts(folder: Path) -> list[str]:
    return [entry.act.value for entry in Layout(folder).centre_log().entries()]


async def signed_in(found: AsyncClient, name: str = "ito", password: str = PASSWORD):
    return await found.post("/sign-in", data={"name": name, "password": password, "next": "/alerts"})


async def test_a_person_signs_in_sees_who_they_are_and_signs_out(desk, tmp_path):
    """Led to where they wanted; a cookie that no script reads; after the sign-out it is worth nothing."""
    async with browser(web(desk)) as found:
        answer = await found.get("/alerts?all=1")
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/alerts%3Fall%3D1")
        answer = await signed_in(found)
        assert (answer.status_code, answer.headers["location"]) == (303, "/alerts")
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"{COOKIE}=")
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        me = (await found.get("/api/me")).json()
        assert me == {"account": "ito", "roles": ["operator"], "permissions": ["acknowledge", "see"]}
        kept = dict(found.cookies)
        await found.post("/sign-out")
        again = await found.get("/api/me", headers={"cookie": f"{COOKIE}={kept[COOKIE]}"})
        assert again.status_code == 401
    assert acts(tmp_path)[2:] == ["signed_in", "signed_out"]


async def test_over_tls_the_cookie_is_bound_to_the_host(desk):
    """`__Host-` and Secure: never over a connection in clear, never from another host."""
    async with browser(web(desk), "https://centre.example") as found:
        answer = await signed_in(found)
        assert answer.headers["set-cookie"].startswith(f"__Host-{COOKIE}=")
        assert "Secure" in answer.headers["set-cookie"]
        assert "max-age" in answer.headers["strict-transport-security"]
        assert (await found.get("/api/fleet")).json() == "fleet"


async def test_no_other_sites_page_signs_in_acts_or_frames(desk):
    """A form of another origin is refused before anything is looked at; no page is framed or kept."""
    async with browser(web(desk)) as found:
        evil = {"origin": "http://evil.example"}
        fields = {"name": "ito", "password": PASSWORD}
        assert (await found.post("/sign-in", data=fields, headers=evil)).status_code == 403
        await signed_in(found)
        assert (await found.post("/sign-out", headers=evil)).status_code == 403
        answer = await found.get("/account")
        assert answer.status_code == 200
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"


async def test_an_address_that_tries_many_accounts_waits(desk, tmp_path):
    """Refused with 429 and when to come again, right password or not; once on the record."""
    async with browser(web(desk)) as found:
        for number in range(PER_ADDRESS_MAX):
            assert (await signed_in(found, f"name{number}", "wrong")).status_code == 422
        answer = await signed_in(found)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
    assert acts(tmp_path).count("sign_in_refused") == 2  # wrong ones, and too many


async def test_a_one_time_password_opens_nothing_but_its_change(desk):
    """Pages lead to the change, the API says so; after it all is open."""
    given = desk.accounts.add("new", (Role.VIEWER,), by="test")
    async with browser(web(desk)) as found:
        await signed_in(found, "new", given)
        assert (await found.get("/alerts")).headers["location"] == "/password"
        assert (await found.get("/api/fleet")).json() == {"detail": "change the one-time password first"}
        for fields, says in (
            ({"now": given, "new": PASSWORD, "again": "else"}, "differently"),
            ({"now": "wrong", "new": PASSWORD, "again": PASSWORD}, "not this one"),
        ):
            answer = await found.post("/password", data=fields)
            assert (answer.status_code, says in answer.text) == (422, True)
        await found.post("/password", data={"now": given, "new": PASSWORD, "again": PASSWORD})
        assert (await found.get("/api/fleet")).json() == "fleet"


async def test_a_person_makes_a_token_sees_it_once_and_removes_it(desk):
    """It asks the API without a cookie, may not act as the person, and is good no more when it is removed."""
    async with browser(web(desk)) as found, browser(web(desk)) as program:
        await signed_in(found)
        made = await found.post("/account/tokens", data={"name": "phone", "days": "3", "scope-see": "on"})
        token = made.text.partition('data-testid="token">')[2].partition("<")[0]
        assert token not in (await found.get("/account")).text
        bearer = {"authorization": f"Bearer {token}"}
        assert (await program.get("/api/fleet", headers=bearer)).json() == "fleet"
        assert (await program.get("/account", headers=bearer)).status_code == 403
        refused = await program.post("/api/alerts/x/acknowledge", headers=bearer, json={})
        assert refused.json()["detail"] == "needs the role operator, with the scope acknowledge"
        bad = await found.post("/account/tokens", data={"name": "<b>", "days": "3", "scope-see": "on"})
        assert (bad.status_code, "<b>" in bad.text) == (422, False)
        await found.post("/account/tokens/phone/remove")
        await asyncio.sleep(LOOK_PERIOD_S)
        assert (await program.get("/api/fleet", headers=bearer)).status_code == 401


async def test_an_open_page_is_cut_off_when_its_session_ends(desk):
    """The websocket closes within moments, with a code that says why; a new one is refused."""
    app, secret = web(desk), desk.sessions.begin("ito")
    sent: list[dict] = []
    open_for = asyncio.Event()

    async def receive():
        await open_for.wait()
        return {"type": "websocket.disconnect", "code": ENDED}

    async def send(message):
        sent.append(message)
        if message["type"] == "websocket.close":
            open_for.set()

    scope = {
        "type": "websocket", "path": "/_nicegui_ws/socket.io/", "raw_path": b"", "query_string": b"",
        "scheme": "ws", "server": ("127.0.0.1", 8080), "client": ("127.0.0.1", 1), "subprotocols": [],
        "headers": [(b"host", b"127.0.0.1:8080"), (b"origin", URL.encode()),
                    (b"cookie", f"{COOKIE}={secret}".encode())],
    }  # fmt: skip

    async def first():
        yield {"type": "websocket.connect"}

    connecting = first()

    async def receiving():
        async for message in connecting:
            return message
        return await receive()

    page = asyncio.create_task(app(dict(scope), receiving, send))
    async with asyncio.timeout(60):
        while not any(message["type"] == "websocket.send" for message in sent):
            await asyncio.sleep(0.01)
        desk.accounts.give_password("ito", by="test")
        await open_for.wait()
    page.cancel()
    await asyncio.gather(page, return_exceptions=True)
    assert sent[-1] == {"type": "websocket.close", "code": ENDED}
    sent.clear()
    await app(dict(scope), receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_nobody_is_let_in_while_accounts_cannot_be_read(desk, tmp_path):
    """A damaged file opens no door: 503."""
    app, secret = web(desk), desk.sessions.begin("ito")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "access.db").write_bytes(b"no database" * 1000)
    app = web(Layout(tmp_path / "other").access())
    async with browser(app) as found:
        answer = await found.get("/api/fleet", headers={"cookie": f"{COOKIE}={secret}"})
        assert answer.status_code == 503


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcSettings]:
    """A provider process, and this centre as its client."""
    port = free_port()
    command = [str(BIN / "python"), "-m", "tests.support.oidc_provider", str(port), "centre", "sesame"]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    wait_for_port(port, process)
    found = oidc_settings(
        {
            "PM_OIDC_ISSUER": f"http://127.0.0.1:{port}", "PM_OIDC_CLIENT_ID": "centre",
            "PM_OIDC_CLIENT_SECRET": "sesame", "PM_OIDC_ROLE_CLAIM": "groups",
            "PM_OIDC_ROLES": "plant-ops=operator, plant-rel=engineer",
        }
    )  # fmt: skip
    assert found is not None
    yield found
    process.kill()
    process.wait()


async def through_the_provider(found: AsyncClient, who: str) -> tuple[str, str]:
    """As a browser goes: there, signed in as `who`; the way back, not taken yet, and the sign-in's state."""
    there = (await found.get("/sign-in/oidc?next=/alerts")).headers["location"]
    with Client() as elsewhere:
        back = await asyncio.to_thread(elsewhere.get, f"{there}&login_hint={who}")
    way = back.headers["location"]
    assert way.startswith(f"{URL}/sign-in/oidc/back?code=")
    return way.removeprefix(URL), parse_qs(urlsplit(there).query)["state"][0]


async def test_a_person_signs_in_at_an_openid_provider_with_the_role_that_it_says(provider, desk, tmp_path):
    """Code, PKCE, nonce through a real provider; the claim's value is the role; an account is made of it."""
    async with browser(web(desk, provider)) as found:
        assert "Sign in at 127.0.0.1" in (await found.get("/sign-in")).text
        way, _ = await through_the_provider(found, "reyes")
        answer = await found.get(way)
        assert (answer.status_code, answer.headers["location"]) == (303, "/alerts")
        me = (await found.get("/api/me")).json()
        assert (me["account"], me["roles"]) == ("a.reyes", ["operator"])
    assert "signed_in" in acts(tmp_path)
    desk.accounts.disable("a.reyes", by="test")
    async with browser(web(desk, provider)) as found:
        way, _ = await through_the_provider(found, "reyes")
        assert "is disabled" in (await found.get(way)).text


async def test_what_comes_back_from_a_provider_is_believed_only_whole(provider, desk, tmp_path):
    """No role, another's name, another browser, a changed state, a code used twice: nobody is signed in."""
    app = web(desk, provider)
    async with browser(app) as found, browser(app) as other:
        for who, says in (("guest", "is a role here"), ("ito", "there is an account")):
            way, _ = await through_the_provider(found, who)
            assert says in (await found.get(way)).text
        way, state = await through_the_provider(found, "reyes")
        assert "not begun in this browser" in (await other.get(way)).text
        assert "not believed" in (await found.get(way.replace(state, "x" * len(state)))).text
        way, _ = await through_the_provider(found, "reyes")
        assert (await found.get(way)).status_code == 303
        assert (await found.get(way)).status_code == 403
        assert (await other.get("/api/me")).status_code == 401
    assert acts(tmp_path).count("sign_in_refused") >= 4
