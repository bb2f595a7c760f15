"""A site's director repository: what the site runs, how, and what it goes back to. One online key a site."""

from collections.abc import Mapping
from pathlib import Path

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from control_plane.release.metadata_files import (
    OFFLINE_EXPIRY,
    ONLINE_EXPIRY,
    expires_in,
    load,
    next_version,
    only_writer,
    publish,
    renew,
)
from control_plane.release.people import refuse_persons_key
from shared.schemas import Assignment
from shared.schemas.base import require_site_id

GENERATION = "x-pm-stack-smr-generation"  # in the signed targets: it outlives what was withdrawn
_RUNS = ("active", "canary")

Files = Mapping[str, TargetFile]


class Director:
    """The director repository of one site."""

    def __init__(self, repository: Path, site: str) -> None:
        self._site, self._metadata = site, repository / "director" / site / "metadata"

    @property
    def root(self) -> Path:
        """The first root: what the site is given to trust."""
        return self._metadata / "1.root.json"

    def begin(self, online: Signer) -> None:
        """Make the repository, with nothing to run, unless it is there; Rejected for no site's id."""
        require_site_id(self._site)
        if self.root.exists():
            return
        people = self._metadata.parents[2] / "image" / "metadata" / "root.json"
        if people.exists():
            refuse_persons_key(load(people, Root).signed, online.public_key, "a director")
        root = Root(expires=expires_in(OFFLINE_EXPIRY), consistent_snapshot=True)
        for role in ("root", "targets", "snapshot", "timestamp"):
            root.add_key(online.public_key, role)
        metadata = Metadata(root)
        metadata.sign(online)
        targets = Metadata(Targets(expires=expires_in(ONLINE_EXPIRY)))
        targets.sign(online)
        publish(targets, self._metadata)
        renew(self._metadata, online)
        publish(metadata, self._metadata)

    def assign(self, files: Files, assignment: Assignment, online: Signer) -> None:
        """Name a release's files for a component type; other types keep what they have.

        What the site ran of that type until now becomes its fallback, with the new roll-out's id and
        generation; what it was to go back to stays that. The same release again keeps its fallback.
        """
        with only_writer(self._metadata):
            kept, own = self._split(assignment.component_type)
            again = any(path in files for path in _of(own, _RUNS))
            before = (not again and _of(own, _RUNS)) or _of(own, ("fallback",))
            named = _named(before, assignment, "fallback") | _named(files, assignment)
            self._write(kept | named, assignment.generation, online)

    def fall_back(self, assignment: Assignment, approved: Files, online: Signer) -> str:
        """Name nothing of the type but its fallback, which the site then runs at once; its `name/version`.

        Empty where there is none, or where it is no longer among the `approved` files: then nothing of
        that type is named.
        """
        with only_writer(self._metadata):
            kept, own = self._split(assignment.component_type)
            back = {path: target for path, target in _of(own, ("fallback",)).items() if path in approved}
            self._write(kept | _named(back, assignment), assignment.generation, online)
        return next(iter(_releases(back)), "")

    def runs(self) -> dict[str, tuple[str, Assignment]]:
        """By component type the release (`name/version`) that the site is to run, and the word on it: a
        fallback where nothing else is named."""
        found: dict[str, tuple[str, Assignment]] = {}
        for path, target in self._targets().items():
            for folder in _releases({path: target}):
                word = Assignment.model_validate(target.custom)
                if word.mode != "fallback" or word.component_type not in found:
                    found[word.component_type] = folder, word
        return found

    def generation(self) -> int:
        """The newest generation that the site was told, 0 for none; it never falls."""
        signed = load(self._metadata / "targets.json", Targets).signed
        told: int = max(
            int(signed.unrecognized_fields.get(GENERATION, 0)),
            *(target.custom["generation"] for target in signed.targets.values() if target.custom),
            0,
        )
        return told

    def half_written(self) -> bool:
        """Whether a process died before snapshot and timestamp named what it wrote: no site sees that yet."""
        targets = load(self._metadata / "targets.json", Targets).signed
        snapshot = load(self._metadata / "snapshot.json", Snapshot).signed
        timestamp = load(self._metadata / "timestamp.json", Timestamp).signed
        named = snapshot.meta["targets.json"].version, timestamp.snapshot_meta.version
        return named != (targets.version, snapshot.version)

    def complete(self, online: Signer) -> None:
        """Sign what was left half written, as a whole."""
        with only_writer(self._metadata):
            self._write(self._targets(), self.generation(), online)

    def _targets(self) -> dict[str, TargetFile]:
        return load(self._metadata / "targets.json", Targets).signed.targets

    def _split(self, component_type: str) -> tuple[dict[str, TargetFile], dict[str, TargetFile]]:
        """The targets of other types, and those of this one. What was revoked is dropped: a site refuses
        all that a director says when one file in it is not approved."""
        kept: dict[str, TargetFile] = {}
        own: dict[str, TargetFile] = {}
        image = self._metadata.parents[2] / "image" / "metadata" / "targets.json"
        approved = load(image, Targets).signed.targets if image.exists() else {}
        for path, target in self._targets().items():
            if path not in approved:
                continue
            mine = target.custom is not None and target.custom["component_type"] == component_type
            (own if mine else kept)[path] = target
        return kept, own

    def _write(self, targets: dict[str, TargetFile], generation: int, online: Signer) -> None:
        metadata = load(self._metadata / "targets.json", Targets)
        metadata.signed.unrecognized_fields[GENERATION] = max(generation, self.generation())
        metadata.signed.targets = targets
        next_version(metadata, ONLINE_EXPIRY)
        metadata.sign(online)
        publish(metadata, self._metadata)
        renew(self._metadata, online)


def _named(files: Files, assignment: Assignment, mode: str | None = None) -> dict[str, TargetFile]:
    custom = assignment.model_dump(mode="json") | ({"mode": mode} if mode else {})
    return {
        path: TargetFile(target.length, target.hashes, path, {"custom": custom})
        for path, target in files.items()
    }


def _of(targets: Files, modes: tuple[str, ...]) -> dict[str, TargetFile]:
    return {path: t for path, t in targets.items() if t.custom is not None and t.custom["mode"] in modes}


def _releases(targets: Files) -> list[str]:
    return [path.removesuffix("/model.onnx") for path in targets if path.endswith("/model.onnx")]
