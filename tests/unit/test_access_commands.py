"""`control-plane account` and `control-plane token`: what they print, and what they leave."""

import json

import pytest
from typer.testing import CliRunner

from control_plane.commands import account, token
from control_plane.layout import Layout
from control_plane.serving.tokens import TokenFile
from shared.errors import Rejected
from tests.support.people import quick_hashes


@pytest.fixture(autouse=True)
def quick():
    with quick_hashes():
        yield


def run(app, *arguments) -> str:
    """What a command prints; its own failures come through."""
    found = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def test_an_account_is_made_listed_given_a_password_and_disabled(tmp_path):
    """Each one-time password lets in until the next; the list says what state an account is in."""
    at = ("--data-dir", tmp_path)
    accounts = Layout(tmp_path).access().accounts
    first = json.loads(run(account.app, "add", "ito", "--role", "operator", *at, "--json"))
    assert accounts.check("ito", first["one_time_password"]) is not None
    second = run(account.app, "password", "ito", *at).strip()
    assert accounts.check("ito", first["one_time_password"]) is None
    assert accounts.check("ito", second) is not None
    [listed] = json.loads(run(account.app, "list", *at, "--json"))
    assert listed["roles"] == ["operator"]
    assert listed["state"].startswith("one-time password, good until")
    run(account.app, "disable", "ito", *at, "--by", "chief")
    assert json.loads(run(account.app, "list", *at, "--json"))[0]["state"] == "disabled"
    assert Layout(tmp_path).centre_log().entries()[-1].detail["by"] == "chief"


def test_a_token_is_of_an_account_or_in_a_file(tmp_path):
    """One command for both; without either it says what to give."""
    at = ("--data-dir", tmp_path)
    run(account.app, "add", "ito", "--role", "operator", *at)
    made = json.loads(run(token.app, "add", "phone", "--account", "ito", "--scope", "see", *at, "--json"))
    desk = Layout(tmp_path).access()
    assert desk.caller(made["token"], token=True).account == "ito"
    assert "ito/phone: see, until" in run(token.app, "list", *at)
    run(token.app, "remove", "phone", "--account", "ito", *at)
    assert desk.caller(made["token"], token=True) is None
    with pytest.raises(Rejected, match="may not audit"):
        run(token.app, "add", "phone", "--account", "ito", "--scope", "audit", *at)
    file = tmp_path / "tokens"
    assert TokenFile(file).holds(run(token.app, "add", "dashboard", "--file", file).strip())
    assert CliRunner().invoke(token.app, ["add", "x"]).exit_code == 2


def test_a_user_without_a_name_has_a_number_on_the_record(monkeypatch):
    """In a container a uid may have no name."""

    def nameless() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert account.me().startswith("uid ")
