"""The ways a notice goes out, behind one contract: a webhook and e-mail. Blocking.

What is away, slow or set up wrongly is Retryable; Rejected is only what the other side says of the
message itself, which would say the same to it again.
"""

import base64
import hashlib
import hmac
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Protocol

import httpx

from control_plane.alerts.calls import Notice, NoticeKind
from control_plane.alerts.models import AlertStatus
from control_plane.alerts.settings import EmailSettings, NoticeSettings, WebhookSettings
from shared.errors import Rejected, Retryable
from shared.schemas import utc_now

TIMEOUT_S = 10.0  # of each step of a connection
BAD_MESSAGE = (400, 413, 415, 422)  # HTTP: about what was sent, not about the way there
SUBJECT_CHARS_MAX = 200
REASON_CHARS_MAX = 200  # of what the other side answered


class Channel(Protocol):
    """A way to people; `name` is what its mark in the store is kept under."""

    @property
    def name(self) -> str: ...

    def send(self, notice: Notice) -> None:
        """Returns when the other side has taken it; Retryable or Rejected otherwise."""


def channels(settings: NoticeSettings) -> list[Channel]:
    """The channels that are set up."""
    found: list[Channel] = []
    if settings.webhook is not None:
        found.append(Webhook(settings.webhook))
    if settings.email is not None:
        found.append(Email(settings.email))
    return found


class Webhook:
    """Posts a notice as JSON, with the headers and the signature of Standard Webhooks 1.0."""

    name = "webhook"

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings

    def send(self, notice: Notice) -> None:
        """One POST; redirects are not followed, because the signature is for this address."""
        body, now = notice.model_dump_json().encode(), str(int(utc_now().timestamp()))
        headers = {
            "content-type": "application/json",
            "webhook-id": notice.notice_id,
            "webhook-timestamp": now,
        }
        if self._settings.secret is not None:
            headers["webhook-signature"] = signature(self._settings.secret, notice.notice_id, now, body)
        try:
            answer = httpx.post(self._settings.url, content=body, headers=headers, timeout=TIMEOUT_S)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Retryable(f"webhook: {type(error).__name__}: {error}") from error
        if answer.is_success:
            return
        problem = f"webhook: answered {answer.status_code}"
        raise Rejected(problem) if answer.status_code in BAD_MESSAGE else Retryable(problem)


def signature(secret: bytes, notice_id: str, timestamp: str, body: bytes) -> str:
    """`v1,` and base64 of HMAC-SHA256 over `id.timestamp.body` (Standard Webhooks 1.0)."""
    signed = b".".join([notice_id.encode(), timestamp.encode(), body])
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


class Email:
    """Sends a notice as plain text; one that is sent again has the same Message-ID."""

    name = "email"

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings

    def send(self, notice: Notice) -> None:
        """One message to all recipients; done when the server takes it for any of them."""
        try:
            with self._connection() as server:
                if self._settings.user:
                    server.login(self._settings.user, self._settings.password)
                server.send_message(message(notice, self._settings.sender, self._settings.to))
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            problem = f"e-mail: no recipient was taken: {sorted(codes)}"
            raise (Rejected if all(code >= 500 for code in codes) else Retryable)(problem) from error
        except smtplib.SMTPDataError as error:
            problem = f"e-mail: {error.smtp_code} {error.smtp_error!r}"[:REASON_CHARS_MAX]
            raise (Rejected if error.smtp_code >= 500 else Retryable)(problem) from error
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise Retryable(f"e-mail: {type(error).__name__}: {error}"[:REASON_CHARS_MAX]) from error

    def _connection(self) -> smtplib.SMTP:
        own = self._settings
        if own.scheme == "smtps":
            return smtplib.SMTP_SSL(
                own.host, own.port, timeout=TIMEOUT_S, context=ssl.create_default_context()
            )
        server = smtplib.SMTP(own.host, own.port, timeout=TIMEOUT_S)
        if own.scheme == "smtp+starttls":
            try:
                server.starttls(context=ssl.create_default_context())
            except BaseException:
                server.close()
                raise
        return server


_WORDS = {
    NoticeKind.RAISED: "{severity}",
    NoticeKind.ESCALATED: "now {severity}",
    NoticeKind.ACKNOWLEDGED: "acknowledged",
    NoticeKind.CLEARED: "cleared",
}


def message(notice: Notice, sender: str, to: tuple[str, ...]) -> EmailMessage:
    """The e-mail: what, where and since when; no text of an alert gets into a header unfolded."""
    alert, found = notice.alert, EmailMessage()
    place = f"{alert.site_id}/{alert.reactor_id}/{alert.component}"
    word = _WORDS[notice.notice].format(severity=alert.severity).capitalize()
    subject = " ".join(f"{word}: {place}: {alert.message}".split())
    found["Subject"] = subject[:SUBJECT_CHARS_MAX]
    found["From"], found["To"] = sender, ", ".join(to)
    found["Date"] = format_datetime(notice.at)
    found["Message-ID"] = f"<{notice.notice_id}@{sender.rpartition('@')[2]}>"
    found["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answering machine answers
    found.set_content("\n".join(_lines(notice, place)) + "\n")
    return found


def _lines(notice: Notice, place: str) -> list[str]:
    alert, by = notice.alert, notice.alert.acknowledgement
    lines = [alert.message, "", f"Component:     {place}", f"Severity:      {alert.severity}"]
    lines.append(f"State:         {alert.status.replace('_', ', ')}")
    if alert.raised_at is not None:
        lines.append(f"Raised at:     {alert.raised_at:%Y-%m-%d %H:%M:%S} UTC")
    if alert.cleared_at is not None:
        lines.append(f"Normal since:  {alert.cleared_at:%Y-%m-%d %H:%M:%S} UTC")
    if by is not None and alert.acknowledged:
        lines.append(
            f"Acknowledged:  {by.who}, {by.at:%Y-%m-%d %H:%M:%S} UTC" + f": {by.note}" * bool(by.note)
        )
    elif alert.status is not AlertStatus.CLEARED:
        lines.append("Acknowledged:  by nobody yet")
    return [*lines, f"Alert:         {alert.alert_id}"]
