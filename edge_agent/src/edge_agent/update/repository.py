"""One of the two TUF repositories as this site sees it: refreshed, verified, never older than before."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, TargetFile, Targets
from tuf.ngclient import FetcherInterface
from tuf.ngclient import Updater as TufUpdater
from tuf.ngclient.config import UpdaterConfig

from edge_agent.audit import clock_state
from edge_agent.update.bounded_fetcher import RedirectRefused
from edge_agent.update.evidence import check_distinct_keys
from edge_agent.update.version_floor import VersionFloor
from shared.errors import Retryable, Untrusted
from shared.schemas import utc_now

METADATA_BYTES_MAX = 1024 * 1024  # of one file: a thousand targets are 300 KiB
TARGET_BYTES_MAX = 64 * 1024 * 1024  # of one file, whatever is signed
ROOT_ROTATIONS_MAX = 32  # at a time: a site that was away for as many key changes is enrolled again
_CHECKS: tuple[tuple[type[Exception], str, str], ...] = (
    (UnsignedMetadataError, "signatures", "too few valid approvals"),
    (BadVersionNumberError, "rollback", "older or mixed metadata"),
    (DownloadLengthMismatchError, "length", "longer than signed"),
    (LengthOrHashMismatchError, "hash", "other bytes than signed"),
)


class Contents(NamedTuple):
    """What a repository says now: its targets, and the raw metadata as evidence.

    `roots` are those after the trusted one, oldest first.
    """

    targets: dict[str, TargetFile]
    raw: bytes
    roots: list[str]


class Repository:
    """`name` is `image` or `director`; one refresh each, as TUF wants it."""

    def __init__(
        self, name: str, url: str, cache: Path, trusted_root: Path, fetcher: FetcherInterface
    ) -> None:
        self.name, self._url, self._trusted_root = name, url, trusted_root
        self._cache = cache / name
        self._fetcher = _Bounded(fetcher, f"{url}/metadata/")
        self._updater: TufUpdater

    def refresh(self, floor: VersionFloor) -> Contents:
        """Fetch and verify the metadata; Untrusted names the check, Retryable when it cannot be fetched,
        or the site has not been told yet whom to trust."""
        self._cache.mkdir(parents=True, exist_ok=True)
        try:
            self._updater = TufUpdater(
                str(self._cache),
                f"{self._url}/metadata/",
                str(self._cache),
                f"{self._url}/targets/",
                fetcher=self._fetcher,
                config=UpdaterConfig(
                    max_root_rotations=ROOT_ROTATIONS_MAX,
                    root_max_length=METADATA_BYTES_MAX,
                    targets_max_length=METADATA_BYTES_MAX,
                    prefix_targets_with_hash=False,
                ),
                bootstrap=self._root(),
            )
            self._updater.refresh()
        except (RepositoryError, DownloadError) as error:
            raise _translated(self.name, error) from error
        check_distinct_keys(Metadata.from_file(str(self._cache / "root.json")), self.name)
        floor.check(self.name, self._cache)
        raw = (self._cache / "targets.json").read_bytes()  # verified by refresh, which wrote it
        metadata: Metadata[Targets] = Metadata.from_bytes(raw)
        return Contents(metadata.signed.targets, raw, self._roots())

    def _root(self) -> bytes:
        try:
            return self._trusted_root.read_bytes()
        except FileNotFoundError as error:
            raise Retryable(f"{self._trusted_root} is missing; `edge-agent enroll` brings it") from error

    def _roots(self) -> list[str]:
        """The chain that `refresh` just went along; files beyond the current root were not looked at."""
        first = _version(self._trusted_root)
        newest = _version(self._cache / "root.json")
        history = self._cache / "root_history"
        return [(history / f"{n}.root.json").read_text() for n in range(first + 1, newest + 1)]

    def download(self, target: TargetFile) -> bytes:
        """The bytes of a target, verified; the file they pass through is removed again."""
        path = self._cache.parent / "download"
        try:
            self._updater.download_target(target, str(path))
            return path.read_bytes()
        except (RepositoryError, DownloadError) as error:
            raise _translated(self.name, error, target.path) from error
        finally:
            path.unlink(missing_ok=True)


class _Bounded(FetcherInterface):
    """A length that metadata claims, signed by a stolen online key, cannot fill the disk either."""

    def __init__(self, inner: FetcherInterface, metadata_url: str) -> None:
        self._inner, self._metadata_url = inner, metadata_url

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self._inner.fetch(url)

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        limit = METADATA_BYTES_MAX if url.startswith(self._metadata_url) else TARGET_BYTES_MAX
        with super().download_file(url, min(max_length, limit)) as file:
            yield file


def _translated(repository: str, error: Exception, path: str = "") -> Untrusted | Retryable:
    """A TUF failure as ours: which check, of which repository."""
    place = f" {path}:" if path else ""
    if isinstance(error, RedirectRefused):
        return Untrusted(f"{repository} redirect", f"only the repository itself is asked:{place} {error}")
    if isinstance(error, DownloadError) and not isinstance(error, DownloadLengthMismatchError):
        return Retryable(f"{repository} repository cannot be fetched:{place} {type(error).__name__} {error}")
    if isinstance(error, ExpiredMetadataError):
        clock = f"this machine's clock says {utc_now():%Y-%m-%d %H:%M} UTC and is {clock_state()}"
        text = f"expired; {clock}: set it, or let the centre renew its metadata: {error}"
        return Untrusted(f"{repository} expiry", text)
    for kind, check, meaning in _CHECKS:
        if isinstance(error, kind):
            return Untrusted(f"{repository} {check}", f"{meaning}:{place} {error}")
    return Untrusted(f"{repository} metadata", f"{type(error).__name__}:{place} {error}")


def _version(path: Path) -> int:
    return int(json.loads(path.read_bytes())["signed"]["version"])
