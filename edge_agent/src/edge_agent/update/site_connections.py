"""Connections to the repositories over TLS, showing this site's certificate."""

from typing import Any

import urllib3

from edge_agent.update.bounded_fetcher import bounded_pool
from shared.tls import IdentityFiles


class SiteConnections:
    """What `BoundedFetcher` asks through; a renewed certificate counts from the next request on."""

    def __init__(self, files: IdentityFiles) -> None:
        self._files, self._shown = files, b""
        self._pool: urllib3.PoolManager | None = None

    def request(self, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """As urllib3's."""
        certificate = self._files.certificate.read_bytes()
        if self._pool is None or certificate != self._shown:
            self._shown = certificate
            self._pool = bounded_pool(ssl_context=self._files.context())
        return self._pool.request(method, url, **options)
