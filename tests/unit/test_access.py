"""Accounts, sessions, API tokens and limits: what is kept, for how long, and what is refused."""

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from starlette.requests import HTTPConnection

from control_plane.access.accounts import ONE_TIME_LIFE, Accounts
from control_plane.access.api_tokens import ApiTokens
from control_plane.access.database import AccessDatabase
from control_plane.access.desk import HASHING_MAX, TooManyTries
from control_plane.access.limits import KEYS_MAX, PER_ACCOUNT_MAX, WINDOW_S, Tries
from control_plane.access.oidc_settings import oidc_settings
from control_plane.access.origin import foreign
from control_plane.access.roles import GRANTS, Permission, Role
from control_plane.access.routes import RULES
from control_plane.access.sessions import IDLE, LIFE, Sessions
from control_plane.access.sessions import PER_ACCOUNT_MAX as SESSIONS_MAX
from control_plane.access.sign_in_routes import own_path
from control_plane.access.visitor import Visitor
from control_plane.audit.centre_log import CentreAct, CentreLog
from control_plane.layout import Layout
from control_plane.serving.tokens import digest
from shared.errors import ConfigError, Rejected
from shared.log_key import LogKey
from tests.support.people import PASSWORD, quick_hashes

MINUTE = timedelta(minutes=1)


class World:
    """A centre's access with a clock that a test turns."""

    def __init__(self, folder) -> None:
        self.now = datetime(2026, 11, 28, tzinfo=UTC)
        self.file = folder / "access.db"
        self.log = CentreLog(folder / "log", LogKey.load_or_create(folder / "log" / "centre.pem"))
        db = AccessDatabase(self.file)
        self.accounts = Accounts(db, self.log, lambda: self.now)
        self.sessions = Sessions(db, lambda: self.now)
        self.tokens = ApiTokens(db, self.log, lambda: self.now)

    def add(self, name="ito", *roles):
        given = self.accounts.add(name, roles or (Role.OPERATOR,), by="test")
        self.accounts.change_password(name, given, PASSWORD)
        return name

    def caller(self, secret):
        return self.sessions.caller(digest(secret))


@pytest.fixture(autouse=True)
def quick():
    with quick_hashes():
        yield


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def test_a_session_ends_when_nobody_gives_a_sign_and_in_any_case_after_a_shift(world):
    """Idle for an hour, or twelve hours old however busy: nobody's any more."""
    world.add()
    idle = world.sessions.begin("ito")
    world.now += IDLE - MINUTE
    assert world.caller(idle).account == "ito"
    world.now += MINUTE
    assert world.caller(idle) is None
    busy, began = world.sessions.begin("ito"), world.now
    while world.now + 50 * MINUTE < began + LIFE:
        world.now += 50 * MINUTE
        world.sessions.touch(digest(busy))
        assert world.caller(busy) is not None
    world.now = began + LIFE
    assert world.caller(busy) is None


def test_a_session_is_gone_with_a_new_password_or_a_disabled_account(world):
    """Whoever was signed in before is not any longer."""
    world.add()
    before = world.sessions.begin("ito")
    world.accounts.change_password("ito", PASSWORD, "other words of a person")
    assert world.caller(before) is None
    again = world.sessions.begin("ito")
    token = world.tokens.add("ito", "phone", ["see"], 1, by="ito")
    world.accounts.disable("ito", by="test")
    assert world.caller(again) is None
    assert world.tokens.caller(digest(token)) is None
    assert world.accounts.check("ito", "other words of a person") is None


def test_the_oldest_session_gives_way(world):
    """A person has so many browsers, and the file does not grow with sign-ins."""
    world.add()
    secrets = []
    for _ in range(SESSIONS_MAX + 2):
        secrets.append(world.sessions.begin("ito"))
        world.now += timedelta(seconds=1)
    assert [world.caller(secret) is None for secret in secrets[:3]] == [True, True, False]


def test_a_one_time_password_lets_in_once_for_a_week_and_to_nothing_but_its_change(world):
    """It marks the session; the change takes the mark away; after a week it is good no more."""
    given = world.accounts.add("ito", (Role.OPERATOR,), by="test")
    world.accounts.check("ito", given)
    assert world.caller(world.sessions.begin("ito")).must_change
    for bad, why in (("short", "12 to 200"), ("ito ito ito ito", "guessed"), (given, "present one")):
        with pytest.raises(Rejected, match=why):
            world.accounts.change_password("ito", given, bad)
    world.accounts.change_password("ito", given, PASSWORD)
    assert not world.caller(world.sessions.begin("ito")).must_change
    again = world.accounts.give_password("ito", by="test")
    assert world.accounts.check("ito", PASSWORD) is None
    world.now += ONE_TIME_LIFE + MINUTE
    assert world.accounts.check("ito", again) is None


def test_a_token_may_never_do_more_than_its_account_and_ends_on_its_day(world):
    """Scopes beyond the roles are refused; a token is no person; it ends by itself or is taken back."""
    world.add()
    with pytest.raises(Rejected, match="may not audit"):
        world.tokens.add("ito", "spy", ["see", "audit"], 1, by="ito")
    for scopes, days, why in ((["self"], 1, "scopes are"), ([], 1, "no scope"), (["see"], 400, "lives 1 to")):
        with pytest.raises(Rejected, match=why):
            world.tokens.add("ito", "phone", scopes, days, by="ito")
    token = world.tokens.add("ito", "phone", ["see"], 2, by="ito")
    caller = world.tokens.caller(digest(token))
    assert (caller.account, caller.permissions) == ("ito", {Permission.SEE})
    world.now += timedelta(days=2)
    assert world.tokens.caller(digest(token)) is None
    other = world.tokens.add("ito", "phone", ["see"], 2, by="ito")
    world.tokens.remove("ito", "phone", by="ito")
    assert world.tokens.caller(digest(other)) is None


def test_nothing_that_lets_in_is_kept_as_it_was_given(world):
    """Password, session and token: the files hold none of them, and the record neither."""
    given = world.accounts.add("ito", (Role.OPERATOR,), by="test")
    world.accounts.change_password("ito", given, PASSWORD)
    shown = [given, PASSWORD, world.sessions.begin("ito"), world.tokens.add("ito", "t", ["see"], 1, by="ito")]
    kept = b"".join(path.read_bytes() for path in world.file.parent.rglob("*") if path.is_file())
    assert [text for text in shown if text.encode() in kept] == []
    assert world.file.stat().st_mode & 0o077 == 0


def test_every_change_of_an_account_is_on_the_record(world):
    """Who made, changed, gave, made, took back and disabled."""
    world.add()
    world.accounts.give_password("ito", by="chief")
    world.tokens.add("ito", "phone", ["see"], 1, by="ito")
    world.tokens.remove("ito", "phone", by="ito")
    world.accounts.disable("ito", by="chief")
    assert [(e.act, e.subject, e.detail["by"]) for e in world.log.entries()] == [
        (CentreAct.ACCOUNT_ADDED, "ito", "test"),
        (CentreAct.PASSWORD_CHANGED, "ito", "ito"),
        (CentreAct.PASSWORD_GIVEN, "ito", "chief"),
        (CentreAct.API_TOKEN_MADE, "ito/phone", "ito"),
        (CentreAct.API_TOKEN_REMOVED, "ito/phone", "ito"),
        (CentreAct.ACCOUNT_DISABLED, "ito", "chief"),
    ]


def test_the_first_account_is_made_once(world):
    """A second start finds it and prints nothing."""
    name, password = world.accounts.add_first()
    assert world.accounts.check(name, password) is not None
    assert world.accounts.add_first() is None


def test_names_that_could_be_taken_for_another_are_refused(world):
    """No second account by other capitals, no sign that a page or a log could misread."""
    world.add("A. Reyes")
    for name in ("a. reyes", "", "x" * 65, "a/b", "a\nb", " a", "a  b", "<b>"):
        with pytest.raises(Rejected):
            world.accounts.add(name, (Role.VIEWER,), by="test")


async def test_a_button_pressed_is_asked_again(tmp_path):
    """Granted while the session holds the permission; then refused in words, and on the record."""
    desk = Layout(tmp_path).access()
    given = desk.accounts.add("ito", (Role.OPERATOR,), by="test")
    desk.accounts.change_password("ito", given, PASSWORD)
    person = Visitor(desk.caller(desk.sign_in("ito", PASSWORD, "192.0.2.1"), token=False), desk)
    assert await person.refusal(Permission.ACKNOWLEDGE, "acknowledge a1") == ""
    assert "needs the role engineer" in await person.refusal(Permission.ROLL_OUT, "abort r1")
    desk.accounts.disable("ito", by="test")
    assert "signed out" in await person.refusal(Permission.ACKNOWLEDGE, "acknowledge a2")
    refused = [e for e in Layout(tmp_path).centre_log().entries() if e.act is CentreAct.ACCESS_REFUSED]
    assert [(e.subject, e.detail["reason"]) for e in refused] == [
        ("ito", "abort r1: needs the role engineer"),
        ("ito", "acknowledge a2: the session has ended"),
    ]


def test_tries_are_counted_within_a_window_and_memory_is_bounded():
    """So many and no more, until the first is old enough; right ones forgive; strangers crowd nothing out."""
    now = [0.0]
    tries = Tries(3, lambda: now[0])
    assert [tries.begin("a") for _ in range(3)] == [0, 0, 0]
    now[0] = 60.0
    assert tries.begin("a") == WINDOW_S - 60
    assert tries.begin("b") == 0
    now[0] = WINDOW_S
    assert tries.begin("a") == 0
    tries.forget("a")
    assert [tries.begin("a") for _ in range(4)][-1] > 0
    for number in range(KEYS_MAX + 10):
        tries.begin(f"key {number}")
    assert len(tries._tries) == KEYS_MAX


def test_guessing_is_stopped_and_no_word_typed_as_a_name_is_recorded(tmp_path):
    """After ten tries even the right password waits; a stranger's name is not put on the record."""
    desk = Layout(tmp_path).access()
    given = desk.accounts.add("ito", (Role.OPERATOR,), by="test")
    with pytest.raises(Rejected):
        desk.sign_in("hunter2 in the wrong field", "x", "192.0.2.1")
    for _ in range(PER_ACCOUNT_MAX):
        with pytest.raises(Rejected, match="Wrong account"):
            desk.sign_in("ito", "a guess", "192.0.2.1")
    with pytest.raises(TooManyTries):
        desk.sign_in("ITO", given, "192.0.2.2")
    refused = [e for e in Layout(tmp_path).centre_log().entries() if e.act is CentreAct.SIGN_IN_REFUSED]
    assert {e.subject for e in refused} == {"ito", "no account's name"}


def test_more_passwords_than_memory_has_room_for_are_not_hashed_at_once(tmp_path):
    """The fifth at once is told to come again; when one has ended, there is room."""
    desk = Layout(tmp_path).access()
    given = desk.accounts.add("ito", (Role.OPERATOR,), by="test")
    with ExitStack() as hashing:
        for _ in range(HASHING_MAX):
            hashing.enter_context(desk._turn())
        with pytest.raises(TooManyTries):
            desk.sign_in("ito", given, "192.0.2.1")
    assert desk.sign_in("ito", given, "192.0.2.1")


@pytest.mark.parametrize(
    ("then", "where"),
    [
        ("/alerts?x=1", "/alerts?x=1"), ("", "/"), ("//evil.example", "/"), ("/\\evil.example", "/"),
        ("https://evil.example", "/"), ("/\n/evil.example", "/"),
    ],
)  # fmt: skip
def test_a_sign_in_leads_to_a_page_of_this_console(then, where):
    """Whatever the link to the sign-in said."""
    assert own_path(then) == where


@pytest.mark.parametrize(
    ("method", "headers", "refused"),
    [
        ("POST", {"origin": "http://centre:8080"}, False),
        ("POST", {"sec-fetch-site": "same-origin"}, False),
        ("POST", {"origin": "http://evil.example"}, True),
        ("POST", {"origin": "http://centre:9090", "sec-fetch-site": "same-site"}, True),
        ("POST", {"origin": "null"}, True),
        ("POST", {}, True),
        ("POST", {"sec-fetch-site": "none"}, True),
        ("WEBSOCKET", {"origin": "http://evil.example"}, True),
        ("WEBSOCKET", {}, True),
        ("WEBSOCKET", {"origin": "http://centre:8080"}, False),
        ("GET", {}, False),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, False),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}, True),
        ("POST", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, True),
    ],
)
def test_only_a_page_of_this_origin_acts_with_a_browsers_cookie(method, headers, refused):
    """CSRF, and websockets that another site's page opens."""
    raw = [(name.encode(), value.encode()) for name, value in {"host": "centre:8080", **headers}.items()]
    asked = HTTPConnection({"type": "http", "headers": raw, "path": "/"})
    assert bool(foreign(asked, method)) is refused


def test_what_a_role_may_beyond_seeing_is_what_its_name_says():
    """Acknowledging is the operators', roll-outs the engineers', the record the auditors': no others'."""
    beyond = {role: GRANTS[role] - {Permission.SEE} for role in Role}
    assert beyond == {
        Role.VIEWER: set(), Role.OPERATOR: {Permission.ACKNOWLEDGE}, Role.ENGINEER: {Permission.ROLL_OUT},
        Role.APPROVER: set(), Role.AUDITOR: {Permission.AUDIT},
    }  # fmt: skip
    open_to_all = {rule.path for rule in RULES if rule.needs is Permission.OPEN}
    assert open_to_all == {
        "/healthz", "/favicon.ico", "/sign-in", "/sign-in/oidc", "/sign-in/oidc/back"
    }  # fmt: skip
    acts = {rule.path: rule.needs for rule in RULES if "POST" in rule.methods or "audit" in rule.path}
    own = dict.fromkeys(
        ("/sign-out", "/password", "/account/tokens", "/account/tokens/{name}/remove"), Permission.SELF
    )
    assert acts == own | {
        "/sign-in": Permission.OPEN,
        "/_nicegui_ws/{rest:path}": Permission.SEE,
        "/api/alerts/{alert_id}/acknowledge": Permission.ACKNOWLEDGE,
        "/api/audit/predictions": Permission.AUDIT,
        "/audit/export": Permission.AUDIT,
        "/audit": Permission.AUDIT,
    }


def test_an_oidc_provider_that_is_half_set_up_is_told_whole():
    """Every problem at the start; nothing without an issuer."""
    assert oidc_settings({}) is None
    with pytest.raises(ConfigError) as told:
        oidc_settings({"PM_OIDC_ISSUER": "http://idp.example", "PM_OIDC_ROLES": "ops=operator,x=king"})
    for words in ("PM_OIDC_CLIENT_ID is not set", "PM_OIDC_CLIENT_SECRET", "expected https", "x=king"):
        assert words in str(told.value)
