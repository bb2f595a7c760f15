"""The signed repositories over HTTPS: to enrolled sites, to each its own director's files.

uvicorn does not tell an application who has called. Its protocol class here puts the certificate that
TLS has checked into each request's scope, and its TLS objects put failed handshakes on the record.
"""

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

import uvicorn
from anyio import to_thread
from cryptography import x509
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.staticfiles import StaticFiles
from uvicorn.protocols.http.h11_impl import H11Protocol

from control_plane.enrolment.admission import Admission
from control_plane.enrolment.authority import ServerFiles
from shared.errors import Rejected
from shared.listen import listener

PEER = "pm_stack.peer_certificate"  # in the scope: DER
CONNECTIONS_MAX = 500  # at a time; a fleet that was told to look comes at once, and TLS costs memory
KEEP_ALIVE_S = 2  # a site fetches all it wants at once
READERS_MAX = 4  # threads that read files: each keeps memory of its own
BACKLOG = 2048  # connections that wait to be accepted
STOP_DEADLINE_S = 2
CLOSING_S = 0.1  # for connections that are being closed

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class RepositoryApp:
    """ASGI: `/repository/image/...` to every enrolled site, `/repository/director/<site>/...` to its own."""

    def __init__(self, repository: Path, admission: Admission) -> None:
        self._admission = admission
        self._files = StaticFiles(directory=repository, check_dir=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, subject = scope["path"].removeprefix("/repository/"), "a caller"
        try:
            subject = _shown_by(scope)
            site = self._admission.site(x509.load_der_x509_certificate(scope[PEER]))
            _require_own(site, path)
        except Rejected as error:
            await asyncio.to_thread(self._admission.refused, subject, error, "repositories")
            await PlainTextResponse(f"{error}\n", 403)(scope, receive, send)
            return
        inner = {**scope, "path": f"/{path}", "root_path": ""}
        try:
            await self._files(inner, receive, send)
        except HTTPException as error:  # not there, or no such method; TUF asks for the next root, too
            await PlainTextResponse(f"{error.detail}\n", error.status_code)(scope, receive, send)


def _shown_by(scope: Scope) -> str:
    """How the record names who called, before anything about it is believed."""
    if not scope.get(PEER):
        raise Rejected("no certificate was shown")
    return x509.load_der_x509_certificate(scope[PEER]).subject.rfc4514_string().removeprefix("CN=")


def _require_own(site: str, path: str) -> None:
    """Rejected unless the path is in the image repository, or in the site's own director repository."""
    parts = path.split("/")
    plain = not path.startswith("/") and not {"", ".", ".."} & set(parts)
    if plain and len(parts) > 2 and (parts[0] == "image" or parts[:2] == ["director", site]):
        return
    raise Rejected(f"{site} may not fetch {path[:200]}")


class PeerProtocol(H11Protocol):
    """Puts the certificate of the connection into the scope of each of its requests."""

    opened: ClassVar[WeakSet[asyncio.Transport]]  # each server has a subclass of its own

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.opened.add(transport)
        shown = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        inner = self.app

        async def with_certificate(scope: Scope, receive: Receive, send: Send) -> None:
            scope[PEER] = shown
            await inner(scope, receive, send)

        self.app = with_certificate

    def timeout_keep_alive_handler(self) -> None:
        """Ends an idle connection at once: TLS would wait half a minute for an idle site to say goodbye,
        with a quarter of a MiB for each."""
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Lets go of what refers back to this, so that no memory waits for the garbage collector."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self.cycle = self.app = None  # type: ignore[assignment]


class RepositoryServer:
    """uvicorn on a thread of its own."""

    def __init__(self, repository: Path, admission: Admission, address: str, files: ServerFiles) -> None:
        self._socket = listener(address, "--repository-listen", tls=True)

        class OwnProtocol(PeerProtocol):
            opened: ClassVar[WeakSet[asyncio.Transport]] = WeakSet()

        self._protocol = OwnProtocol
        config = uvicorn.Config(
            RepositoryApp(repository, admission), http=self._protocol, log_level="warning", lifespan="off",
            ws="none", limit_concurrency=CONNECTIONS_MAX, timeout_keep_alive=KEEP_ALIVE_S, backlog=BACKLOG,
            timeout_graceful_shutdown=STOP_DEADLINE_S, server_header=False, proxy_headers=False,
            ssl_context_factory=lambda _config, _default: _context(files, admission),
        )  # fmt: skip
        config.load()  # NiceGUI looks through every server of the process, and takes each for loaded
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="repositories", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it; open connections get a moment."""
        self._server.should_exit = True
        self._thread.join(STOP_DEADLINE_S + 1)
        self._socket.close()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        to_thread.current_default_thread_limiter().total_tokens = READERS_MAX
        await self._server.serve(sockets=[self._socket])
        for transport in list(self._protocol.opened):  # TLS would wait for the other side to say goodbye
            transport.abort()
        await asyncio.sleep(CLOSING_S)


def _context(files: ServerFiles, admission: Admission) -> ssl.SSLContext:
    """Certificates of our authority alone; a handshake that fails over one is on the record."""

    class Noting(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except ssl.SSLCertVerificationError as error:
                refusal = Rejected(f"TLS: {error.verify_message}")
                loop = asyncio.get_running_loop()
                loop.run_in_executor(None, admission.refused, "a caller", refusal, "repositories")
                raise

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(files.authority)
    context.load_cert_chain(files.chain, files.key)
    context.sslobject_class = Noting
    return context
