"""Fetches what this site is to run, from both repositories, and verifies every byte of it."""

import json
from collections import Counter
from pathlib import Path

from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface

from edge_agent.update.bounded_fetcher import BoundedFetcher
from edge_agent.update.evidence import check_bytes
from edge_agent.update.release import Release, parse_manifest
from edge_agent.update.repository import TARGET_BYTES_MAX, Contents, Repository
from edge_agent.update.version_floor import VersionFloor
from shared.errors import Untrusted
from shared.schemas import Assignment, utc_now

MODEL_BYTES_MAX = TARGET_BYTES_MAX  # ten times the largest that an edge core scores in a millisecond
MANIFEST_BYTES_MAX = 8 * 1024 * 1024  # golden windows are most of it
TARGETS_MAX = 100  # of a director: four a component type
TOTAL_BYTES_MAX = 256 * 1024 * 1024  # of all that a director names: it passes through memory
NAME_CHARACTERS_MAX = 64  # of `shared.schemas.base.Name`
VERSION_DIGITS_MAX = 9
_SIZES = {"model.onnx": MODEL_BYTES_MAX, "manifest.json": MANIFEST_BYTES_MAX}


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
        self._cache, self._trust_dir = data_dir / "tuf", trust_dir
        self._fetcher = fetcher or BoundedFetcher()
        self._urls = {
            "image": f"{repository_url}/image",
            "director": f"{repository_url}/director/{site_id}",
        }
        self._floor = VersionFloor(data_dir / "versions.json")
        self._files: dict[str, bytes] = {}  # of the last look: what has not changed is not fetched again

    def fetch(self) -> list[Release]:
        """Every release that the director names and the image repository holds, verified.

        Blocking. Untrusted names the check that failed; Retryable when the centre is away.
        """
        self._floor.check_clock(utc_now())
        image_repository, image = self._refreshed("image")
        _, director = self._refreshed("director")
        self._floor.saw_clock(utc_now())
        assignments = _assignments(director.targets)
        roots = json.dumps({"image": image.roots, "director": director.roots})
        files = self._agreed_files(image_repository, image, director, list(assignments))
        self._files = files
        return [
            _release(folder, assignment, files, image, director, roots)
            for folder, assignment in assignments.items()
        ]

    def _refreshed(self, name: str) -> tuple[Repository, Contents]:
        trusted = self._trust_dir / f"{name}_root.json"
        repository = Repository(name, self._urls[name], self._cache, trusted, self._fetcher)
        return repository, repository.refresh(self._floor)

    def _agreed_files(
        self, repository: Repository, image: Contents, director: Contents, folders: list[str]
    ) -> dict[str, bytes]:
        """The bytes of each file that both repositories name alike; those of the last look stay."""
        agreed = [
            _agreed(f"{folder}/{name}", image.targets, director.targets, limit)
            for folder in folders
            for name, limit in _SIZES.items()
        ]
        if (total := sum(target.length for target in agreed)) > TOTAL_BYTES_MAX:
            raise Untrusted("size", f"the director names {total} bytes in all; at most {TOTAL_BYTES_MAX}")
        return {target.path: self._bytes(repository, target, director) for target in agreed}

    def _bytes(self, repository: Repository, target: TargetFile, director: Contents) -> bytes:
        data = self._files.get(target.path)
        if data is None or not _is(target, data):
            data = repository.download(target)
        check_bytes(target, data, "image")
        check_bytes(director.targets[target.path], data, "director")
        return data


def _release(
    folder: str,
    assignment: Assignment,
    files: dict[str, bytes],
    image: Contents,
    director: Contents,
    roots: str,
) -> Release:
    raw, model = files[f"{folder}/manifest.json"], files[f"{folder}/model.onnx"]
    manifest = parse_manifest(raw, folder, model)
    if manifest.component_type != assignment.component_type:
        found = f"{folder} is for {manifest.component_type}, not {assignment.component_type}"
        raise Untrusted("component type", found)
    return Release(manifest, raw, model, assignment, image.raw, director.raw, roots)


def _assignments(targets: dict[str, TargetFile]) -> dict[str, Assignment]:
    """`name/version` to what the director says of it; Untrusted when a path or a word is not ours."""
    if len(targets) > TARGETS_MAX:
        raise Untrusted("director targets", f"names {len(targets)} files; at most {TARGETS_MAX}")
    found: dict[str, Assignment] = {}
    for path, target in targets.items():
        parts = path.split("/")
        if len(parts) != 3 or parts[2] not in _SIZES or not _plain(parts[0]) or not _number(parts[1]):
            raise Untrusted("target path", f"{path!r} is not <name>/<version>/model.onnx or manifest.json")
        folder = f"{parts[0]}/{parts[1]}"
        try:
            told = Assignment.model_validate_json(json.dumps(target.custom or {}))
        except ValueError as error:
            raise Untrusted("director assignment", f"{path}: {str(error)[:200]}") from error
        if found.setdefault(folder, told) != told:
            raise Untrusted("director assignment", f"{folder}: its two files are assigned differently")
    _check_one_of_each(found)
    return found


def _check_one_of_each(assignments: dict[str, Assignment]) -> None:
    """For a component type one release to run, and one to go back to."""
    roles = Counter((told.component_type, told.mode == "fallback") for told in assignments.values())
    for (kind, fallback), count in roles.items():
        if count > 1:
            role = "to go back to" if fallback else "to run"
            raise Untrusted("director assignment", f"{count} releases {role} for {kind}; at most one")


def _plain(name: str) -> bool:
    return (
        0 < len(name) <= NAME_CHARACTERS_MAX
        and name.isascii()
        and all(c.isalnum() or c in "_-" for c in name)
    )


def _number(text: str) -> bool:
    """A version as the manifest has it: no zeros before it, no digits of other scripts."""
    return len(text) <= VERSION_DIGITS_MAX and text.isascii() and text.isdigit() and not text.startswith("0")


def _is(target: TargetFile, data: bytes) -> bool:
    try:
        check_bytes(target, data, "image")
    except Untrusted:
        return False
    return True


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
