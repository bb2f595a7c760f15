"""Fetches from a repository that may be hostile: no answer is waited for without end, no other host asked.

TUF bounds how *much* is read; this bounds how *long*, and by what ways. What goes wrong is a `DownloadError`.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient.fetcher import FetcherInterface

SILENCE_S_MAX = 10.0  # between two pieces; a satellite link answers within two seconds
HEAD_S_MAX = 15.0  # for an answer's head, however its bytes come
GRACE_S = 5.0  # before the rate counts
RATE_BYTES_PER_S_MIN = 8 * 1024  # of a body, on average: the largest model takes two hours at most
CONNECTIONS_MAX = 2  # a site looks at one repository after the other
PIECE_BYTES = 64 * 1024


class RedirectRefused(DownloadError):
    """The repository names another place to ask; a site asks only the one it was told."""


class Asks(Protocol):
    """What `bounded_pool` makes, or what makes those anew when a certificate was renewed."""

    def request(self, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse: ...


def bounded_pool(**settings: Any) -> urllib3.PoolManager:
    """Connections with an end; `settings` as of urllib3's pools, for example an `ssl_context`."""
    pool = urllib3.PoolManager(CONNECTIONS_MAX, **settings)
    pool.pool_classes_by_scheme = {"http": _Http, "https": _Https}
    return pool


class BoundedFetcher(FetcherInterface):
    """TUF's fetcher for a site; `connections` hold what it needs to be let in."""

    def __init__(self, connections: Asks | None = None) -> None:
        self._connections = connections or bounded_pool()

    def _fetch(self, url: str) -> Iterator[bytes]:
        """The body, piece by piece."""
        try:
            response = self._connections.request(
                "GET",
                url,
                preload_content=False,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(SILENCE_S_MAX),
                headers={"Accept-Encoding": "identity"},
            )
        except urllib3.exceptions.TimeoutError as error:
            raise SlowRetrievalError(f"no answer within {SILENCE_S_MAX:.0f} s") from error
        if response.status >= 300:
            response.close()
            if response.status < 400:
                raise RedirectRefused(f"sent to {response.headers.get('Location', 'nowhere')[:200]!r}")
            raise DownloadHTTPError(f"status {response.status}", response.status)
        return _pieces(response)


def _pieces(response: Any) -> Iterator[bytes]:
    """What comes, as long as it comes fast enough; never decoded: what was signed is what is sent."""
    began_s, received = time.monotonic(), 0
    wire = response.connection.wire
    hung_up = threading.Event()
    try:
        while True:
            left_s = began_s + GRACE_S + received / RATE_BYTES_PER_S_MIN - time.monotonic()
            with _ending(wire, left_s, hung_up):
                piece = response.read1(PIECE_BYTES, decode_content=False)
            received += len(piece)
            if not piece or hung_up.is_set():
                break
            yield piece
        response.release_conn()
    except (urllib3.exceptions.HTTPError, OSError) as error:
        if not hung_up.is_set():
            raise DownloadError(f"the answer broke off after {received} bytes: {error!r:.200}") from error
    finally:
        response.close()
    if hung_up.is_set():
        raise SlowRetrievalError(f"{received} bytes came slower than {RATE_BYTES_PER_S_MIN} a second")


@contextmanager
def _ending(wire: socket.socket, seconds: float, hung_up: threading.Event) -> Iterator[None]:
    """Hangs up unless the body is done in time: a timeout of each read alone would let a drip go on."""

    def hang_up() -> None:
        hung_up.set()
        with suppress(OSError):
            wire.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, seconds), hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _HttpConnection(urllib3.connection.HTTPConnection):
    """Its answer's head must come in time; `wire` outlives what http.client does with the socket."""

    wire: Any = None

    def getresponse(self) -> Any:
        self.wire = self.sock
        with _ending(self.wire, HEAD_S_MAX, threading.Event()):
            return super().getresponse()


class _HttpsConnection(_HttpConnection, urllib3.connection.HTTPSConnection):
    """The same over TLS."""


class _Http(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _Https(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection
