"""Whom notices go to, from the environment; every problem is told at the start.

PM_ALERT_WEBHOOK_URL     https://..., or http://... on a network of one's own
PM_ALERT_WEBHOOK_SECRET  whsec_ and base64 of 24 to 64 bytes: notices are signed with it
PM_ALERT_SMTP_URL        smtps://USER:PASSWORD@HOST, smtp+starttls://..., or smtp://HOST without a password
PM_ALERT_EMAIL_TO        addresses, separated by commas
PM_ALERT_EMAIL_FROM      the address that they come from
"""

import base64
import binascii
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from shared.errors import ConfigError

WEBHOOK_URL, WEBHOOK_SECRET = "PM_ALERT_WEBHOOK_URL", "PM_ALERT_WEBHOOK_SECRET"
SMTP_URL, EMAIL_TO, EMAIL_FROM = "PM_ALERT_SMTP_URL", "PM_ALERT_EMAIL_TO", "PM_ALERT_EMAIL_FROM"

SECRET_PREFIX = "whsec_"  # noqa: S105 - of Standard Webhooks
SECRET_BYTES = range(24, 65)  # Standard Webhooks 1.0
RECIPIENTS_MAX = 50  # more is a mailing list's work
PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


class WebhookSettings(NamedTuple):
    """Where notices are posted; signed when there is a secret."""

    url: str
    secret: bytes | None


class EmailSettings(NamedTuple):
    """The mail server, how it is spoken to (a key of PORTS), and who writes to whom."""

    scheme: str
    host: str
    port: int
    user: str
    password: str
    sender: str
    to: tuple[str, ...]


class NoticeSettings(NamedTuple):
    """The channels that are set up."""

    webhook: WebhookSettings | None = None
    email: EmailSettings | None = None


def notice_settings(environment: Mapping[str, str]) -> NoticeSettings:
    """What the environment says; ConfigError with every problem in it."""
    problems: list[str] = []
    webhook, email = _webhook(environment, problems), _email(environment, problems)
    if problems:
        raise ConfigError("the environment", problems)
    return NoticeSettings(webhook, email)


def _webhook(environment: Mapping[str, str], problems: list[str]) -> WebhookSettings | None:
    url, text = environment.get(WEBHOOK_URL, ""), environment.get(WEBHOOK_SECRET, "")
    if not url:
        if text:
            problems.append(f"{WEBHOOK_SECRET} is set, {WEBHOOK_URL} is not")
        return None
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https"):
        problems.append(f"{WEBHOOK_URL}: expected https://HOST/... or http://HOST/...")
    return WebhookSettings(url, _secret(text, problems) if text else None)


def _secret(text: str, problems: list[str]) -> bytes:
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        secret = b""
    if not text.startswith(SECRET_PREFIX) or len(secret) not in SECRET_BYTES:
        problems.append(
            f"{WEBHOOK_SECRET}: expected {SECRET_PREFIX} and base64 of 24 to 64 bytes, as of "
            f'"{SECRET_PREFIX}$(openssl rand -base64 32)"'
        )
    return secret


def _email(environment: Mapping[str, str], problems: list[str]) -> EmailSettings | None:
    given = {name: environment.get(name, "") for name in (SMTP_URL, EMAIL_TO, EMAIL_FROM)}
    if not any(given.values()):
        return None
    missing = [name for name, value in given.items() if not value]
    if missing:
        problems.append(f"e-mail needs {', '.join(missing)} too")
        return None
    to = tuple(address.strip() for address in given[EMAIL_TO].split(",") if address.strip())
    if not 1 <= len(to) <= RECIPIENTS_MAX:
        problems.append(f"{EMAIL_TO}: found {len(to)} addresses; expected 1 to {RECIPIENTS_MAX}")
    wrong = [address for address in (*to, given[EMAIL_FROM]) if not _is_address(address)]
    problems += [f"found {address!r}; expected an address such as shift@plant.example" for address in wrong]
    parts = _split(given[SMTP_URL])
    if parts is None or parts.scheme not in PORTS:
        problems.append(f"{SMTP_URL}: expected smtps://HOST, smtp+starttls://HOST or smtp://HOST")
        return None
    if parts.password and parts.scheme == "smtp":
        problems.append(f"{SMTP_URL}: a password would go in clear; use smtp+starttls:// or smtps://")
    return EmailSettings(
        parts.scheme, parts.hostname or "", parts.port or PORTS[parts.scheme],
        unquote(parts.username or ""), unquote(parts.password or ""), given[EMAIL_FROM], to,
    )  # fmt: skip


def _split(url: str) -> SplitResult | None:
    """The URL's parts; None where it has no host or no port that is one."""
    try:
        parts = urlsplit(url)
        return parts if parts.hostname and parts.port != 0 else None
    except ValueError:
        return None


def _is_address(text: str) -> bool:
    local, _, domain = text.rpartition("@")
    return bool(local and domain) and text.isprintable() and not any(c in text for c in ' <>,;"')
