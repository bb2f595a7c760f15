"""Fetches from the repositories over TLS, showing this site's certificate."""

from collections.abc import Iterator

from edge_agent.update.bounded_fetcher import BoundedFetcher, bounded_pool
from shared.tls import IdentityFiles


class SiteFetcher(BoundedFetcher):
    """The fetcher with this site's identity; a renewed certificate counts from the next fetch on."""

    def __init__(self, files: IdentityFiles) -> None:
        super().__init__()
        self._files, self._shown = files, b""

    def _fetch(self, url: str) -> Iterator[bytes]:
        certificate = self._files.certificate.read_bytes()
        if certificate != self._shown:
            self._shown = certificate
            self._connections = bounded_pool(ssl_context=self._files.context())
        return super()._fetch(url)
