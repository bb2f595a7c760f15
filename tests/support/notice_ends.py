"""The far ends of notices: a web server and a mail server that keep what they get, or refuse it when told."""

import base64
import hashlib
import hmac
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session


class Hook:
    """A web server's end: `posts` are `(headers, body)`; `answers` are used up before 204 is said."""

    def __init__(self) -> None:
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.url = ""

    def signed_by(self, secret: bytes) -> list[bool]:
        """Whether each post bears a signature made with the secret, computed as Standard Webhooks says."""
        return [_signature(secret, *post) == post[0].get("webhook-signature") for post in self.posts]


def _signature(secret: bytes, headers: dict[str, str], body: bytes) -> str:
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


@contextmanager
def hook() -> Iterator[Hook]:
    """A real HTTP server on loopback."""
    found = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.posts.append(({k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(found.answers.pop(0) if found.answers else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        found.url = f"http://127.0.0.1:{server.server_port}/notices"
        yield found
        server.shutdown()
        thread.join()


class Mailbox:
    """A mail server's end: `letters` that were taken; `refusals` are said first, one a message."""

    def __init__(self) -> None:
        self.letters: list[Envelope] = []
        self.over_tls: list[bool] = []
        self.refusals: list[str] = []
        self.address = ("127.0.0.1", 0)

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.refusals:
            return self.refusals.pop(0)
        self.letters.append(envelope)
        self.over_tls.append(session.ssl is not None)
        return "250 taken"


@contextmanager
def mailbox(port: int, tls: Path | None = None, password: str = "") -> Iterator[Mailbox]:
    """A real SMTP server on loopback; with `tls` (key and certificate) it wants STARTTLS first."""
    found, context = Mailbox(), None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)

    def check(_server, _session, _envelope, _mechanism, data) -> AuthResult:
        return AuthResult(success=data.password == password.encode())

    settings = {"authenticator": check, "auth_required": True} if password else {}
    controller = Controller(
        found, "127.0.0.1", port, tls_context=context, require_starttls=tls is not None, **settings
    )
    controller.start()
    found.address = ("127.0.0.1", port)
    try:
        yield found
    finally:
        controller.stop()
