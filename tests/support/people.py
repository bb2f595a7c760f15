"""People with accounts at a centre, and their sessions, made as the centre makes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlsplit

from argon2 import PasswordHasher
from playwright.sync_api import Page

from control_plane.access import passwords
from control_plane.access.desk import AccessDesk
from control_plane.access.roles import Role
from control_plane.layout import Layout

REYES = "A. Reyes"
PASSWORD = "several words of a person"  # noqa: S105
COOKIE = "pm-session"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # a hash that guards nothing


@contextmanager
def quick_hashes() -> Iterator[None]:
    """Passwords are hashed in no time, in this process."""
    with patch.multiple(passwords, _hasher=QUICK, _NOBODYS=QUICK.hash("nobody's")):
        yield


def person(data_dir: Path, name: str = REYES, *roles: Role) -> AccessDesk:
    """Where such an account is, with every role unless some are given, its password changed to PASSWORD."""
    desk = Layout(data_dir).access()
    if not desk.accounts.has(name):
        with quick_hashes():
            given = desk.accounts.add(name, roles or tuple(Role), by="the test")
            desk.accounts.change_password(name, given, PASSWORD)
    return desk


def session(data_dir: Path, name: str = REYES, *roles: Role) -> dict[str, str]:
    """The cookie of a session of theirs."""
    return {COOKIE: person(data_dir, name, *roles).sessions.begin(name)}


def sign_in(found: Page, url: str, data_dir: Path, name: str = REYES, *roles: Role) -> None:
    """From now on the browser is signed in at the console at `url`."""
    at = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    [(cookie, secret)] = session(data_dir, name, *roles).items()
    found.context.add_cookies([{"name": cookie, "value": secret, "url": at}])
