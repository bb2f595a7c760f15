"""Fetches what this site is to run, from both repositories, and verifies every byte of it."""

import json
from pathlib import Path

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

from edge_agent.update.evidence import check_bytes
from edge_agent.update.release import Release, parse_manifest
from edge_agent.update.version_floor import VersionFloor
from shared.errors import Retryable, Untrusted
from shared.schemas import Assignment

MODEL_BYTES_MAX = 64 * 1024 * 1024  # ten times the largest that an edge core scores in a millisecond
MANIFEST_BYTES_MAX = 8 * 1024 * 1024  # golden windows are most of it
METADATA_BYTES_MAX = 1024 * 1024
TARGETS_MAX = 100  # of a director: two a component type
_SIZES = {"model.onnx": MODEL_BYTES_MAX, "manifest.json": MANIFEST_BYTES_MAX}
_CHECKS: tuple[tuple[type[Exception], str, str], ...] = (
    (UnsignedMetadataError, "signatures", "too few valid approvals"),
    (ExpiredMetadataError, "expiry", "expired; renew it, or check this machine's clock"),
    (BadVersionNumberError, "rollback", "older or mixed metadata"),
    (DownloadLengthMismatchError, "length", "longer than signed"),
    (LengthOrHashMismatchError, "hash", "other bytes than signed"),
)


class ReleaseClient:
    """One site's view of the image repository and of its own director repository.

    `fetcher` is how files are fetched: plain HTTP, which only loopback allows, when left out.
    """

    def __init__(
        self,
        data_dir: Path,
        trust_dir: Path,
        repository_url: str,
        site_id: str,
        fetcher: FetcherInterface | None = None,
    ) -> None:
        self._fetcher = fetcher
        self._cache = data_dir / "tuf"
        self._trust_dir = trust_dir
        self._urls = {
            "image": f"{repository_url}/image",
            "director": f"{repository_url}/director/{site_id}",
        }
        self._floor = VersionFloor(data_dir / "versions.json")

    def fetch(self) -> list[Release]:
        """Every release that the director names and the image repository holds, verified.

        Blocking. Untrusted names the check that failed; Retryable when the centre is away.
        """
        image, image_targets, image_raw = self._refreshed("image")
        _, director_targets, director_raw = self._refreshed("director")
        if len(director_targets) > TARGETS_MAX:
            raise Untrusted("director targets", f"names {len(director_targets)} files; at most {TARGETS_MAX}")
        releases = []
        for folder, assignment in _assignments(director_targets).items():
            files = {}
            for name, limit in _SIZES.items():
                target = _agreed(f"{folder}/{name}", image_targets, director_targets, limit)
                files[name] = self._download(image, target)
                check_bytes(director_targets[target.path], files[name], "director")
            manifest = parse_manifest(files["manifest.json"], folder, files["model.onnx"])
            if manifest.component_type != assignment.component_type:
                raise Untrusted(
                    "component type",
                    f"{folder} is for {manifest.component_type}, not {assignment.component_type}",
                )
            releases.append(
                Release(
                    manifest, files["manifest.json"], files["model.onnx"], assignment, image_raw, director_raw
                )
            )
        return releases

    def _refreshed(self, repository: str) -> tuple[TufUpdater, dict[str, TargetFile], bytes]:
        folder = self._cache / repository
        folder.mkdir(parents=True, exist_ok=True)
        config = UpdaterConfig(
            max_root_rotations=32,
            root_max_length=METADATA_BYTES_MAX,
            targets_max_length=METADATA_BYTES_MAX,
            prefix_targets_with_hash=False,
        )
        try:
            updater = TufUpdater(
                str(folder),
                f"{self._urls[repository]}/metadata/",
                str(folder),
                f"{self._urls[repository]}/targets/",
                fetcher=self._fetcher,
                config=config,
                bootstrap=(self._trust_dir / f"{repository}_root.json").read_bytes(),
            )
            updater.refresh()
        except (RepositoryError, DownloadError) as error:
            raise _translated(repository, error) from error
        self._floor.check(repository, folder)
        raw = (folder / "targets.json").read_bytes()  # verified by refresh, which wrote it
        metadata: Metadata[Targets] = Metadata.from_bytes(raw)
        return updater, metadata.signed.targets, raw

    def _download(self, image: TufUpdater, target: TargetFile) -> bytes:
        """The bytes of a target; the file it passes through is removed again."""
        path = self._cache / "download"
        try:
            image.download_target(target, str(path))
            data = path.read_bytes()
        except (RepositoryError, DownloadError) as error:
            raise _translated("image", error, target.path) from error
        finally:
            path.unlink(missing_ok=True)
        check_bytes(target, data, "image")
        return data


def _assignments(targets: dict[str, TargetFile]) -> dict[str, Assignment]:
    """`name/version` to what the director says of it; Untrusted when a path or a word is not ours."""
    found = {}
    for path, target in targets.items():
        parts = path.split("/")
        if len(parts) != 3 or parts[2] not in _SIZES or not _plain(parts[0]) or not parts[1].isdigit():
            raise Untrusted("target path", f"{path!r} is not <name>/<version>/model.onnx or manifest.json")
        try:
            found[f"{parts[0]}/{parts[1]}"] = Assignment.model_validate_json(json.dumps(target.custom or {}))
        except ValueError as error:
            raise Untrusted("director assignment", f"{path}: {str(error)[:200]}") from error
    return found


def _plain(name: str) -> bool:
    return bool(name) and all(c.isalnum() or c in "_-" for c in name)


def _agreed(
    path: str, image: dict[str, TargetFile], director: dict[str, TargetFile], limit: int
) -> TargetFile:
    """The target that both repositories name, with the same length and hashes."""
    target, named = image.get(path), director.get(path)
    if target is None:
        raise Untrusted(
            "image repository", f"{path} was never approved; the director alone cannot make it run"
        )
    if named is None or (named.length, named.hashes) != (target.length, target.hashes):
        raise Untrusted("director and image agree", f"{path}: the two repositories name different bytes")
    if target.length > limit:
        raise Untrusted("size", f"{path} has {target.length} bytes; at most {limit}")
    return target


def _translated(repository: str, error: Exception, path: str = "") -> Untrusted | Retryable:
    """A TUF failure as ours: which check, of which repository."""
    place = f" {path}:" if path else ""
    if isinstance(error, DownloadError) and not isinstance(error, DownloadLengthMismatchError):
        return Retryable(f"{repository} repository cannot be fetched:{place} {type(error).__name__} {error}")
    for kind, check, meaning in _CHECKS:
        if isinstance(error, kind):
            return Untrusted(f"{repository} {check}", f"{meaning}:{place} {error}")
    return Untrusted(f"{repository} metadata", f"{type(error).__name__}:{place} {error}")
