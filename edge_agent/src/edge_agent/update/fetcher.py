"""Fetches from the repositories over TLS, showing this site's certificate."""

from collections.abc import Iterator

import urllib3
from tuf.ngclient import Urllib3Fetcher

from shared.tls import IdentityFiles


class SiteFetcher(Urllib3Fetcher):
    """TUF's fetcher with this site's identity; a renewed certificate counts from the next fetch on."""

    def __init__(self, files: IdentityFiles) -> None:
        super().__init__()
        self._files, self._shown = files, b""

    def _fetch(self, url: str) -> Iterator[bytes]:
        certificate = self._files.certificate.read_bytes()
        if certificate != self._shown:
            self._shown = certificate
            pool = urllib3.PoolManager(ssl_context=self._files.context())
            self._proxy_env = pool  # type: ignore[assignment]  # `request` is all that is asked of it
        return super()._fetch(url)
