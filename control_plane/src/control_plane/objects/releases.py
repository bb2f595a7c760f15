"""Published releases from an object store, verified from a root that was brought by hand, as a site does."""

import json
from collections.abc import Iterator
from pathlib import Path

from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater
from tuf.ngclient.config import UpdaterConfig

from control_plane.objects.bucket import Bucket
from control_plane.release.metadata_files import write
from shared.errors import PmStackError, Retryable, Untrusted

METADATA_BYTES_MAX = 1024 * 1024  # of one file: a thousand targets are 300 KiB
TARGET_BYTES_MAX = 64 * 1024 * 1024  # of one file, whatever is signed
ROOT_ROTATIONS_MAX = 32


class FetchedReleases:
    """Keeps `<repository>/image` as the object store has it under `<address>/image`, once it has verified."""

    def __init__(self, bucket: Bucket, root: Path, repository: Path) -> None:
        self._bucket, self._root = bucket, root.read_bytes()
        self._image, self._cache = repository / "image", repository / "fetched"

    def refresh(self) -> None:
        """Fetch what is new. Blocking. Untrusted when it does not verify, Retryable when the store is away;
        what was verified before stays."""
        self._cache.mkdir(parents=True, exist_ok=True)
        try:
            updater = Updater(
                str(self._cache), "image/metadata/", None, "image/targets/",
                fetcher=_Objects(self._bucket), bootstrap=self._root,
                config=UpdaterConfig(
                    max_root_rotations=ROOT_ROTATIONS_MAX, root_max_length=METADATA_BYTES_MAX,
                    targets_max_length=METADATA_BYTES_MAX, prefix_targets_with_hash=False,
                ),
            )  # fmt: skip
            updater.refresh()
            targets = (self._cache / "targets.json").read_bytes()  # verified by `refresh`, which wrote it
            for path in json.loads(targets)["signed"]["targets"]:
                self._take(updater, path)
        except DownloadError as error:
            raise Retryable(f"{self._bucket.address}: {error}") from error
        except RepositoryError as error:
            raise Untrusted("releases", f"{self._bucket.address}: {error}") from error
        self._say("root.json", (self._cache / "root.json").read_bytes())
        self._say("targets.json", targets)  # last: who serves looks at it

    def _say(self, name: str, data: bytes) -> None:
        path = self._image / "metadata" / name
        if not path.exists() or path.read_bytes() != data:
            write(path, data)

    def _take(self, updater: Updater, path: str) -> None:
        target = updater.get_targetinfo(path)
        if target is None:
            raise RepositoryError(f"{path} is named and not signed for")
        file = (self._image / "targets" / path).resolve()
        if not file.is_relative_to(self._image.resolve()):
            raise RepositoryError(f"{path} leads out of the repository")
        if updater.find_cached_target(target, str(file)) is None:
            file.parent.mkdir(parents=True, exist_ok=True)
            updater.download_target(target, str(file))


class _Objects(FetcherInterface):
    """Reads objects as the TUF client asks for them."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def _fetch(self, url: str) -> Iterator[bytes]:
        bytes_max = TARGET_BYTES_MAX if url.startswith("image/targets/") else METADATA_BYTES_MAX
        try:
            return iter([self._bucket.get(url, bytes_max)])
        except FileNotFoundError as error:
            raise DownloadHTTPError(f"{url} is not there", 404) from error
        except PmStackError as error:
            raise DownloadError(str(error)) from error
