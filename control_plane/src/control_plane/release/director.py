"""A site's director repository: what the site runs, and how. One online key a site."""

from pathlib import Path

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from control_plane.release.metadata_files import (
    OFFLINE_EXPIRY,
    ONLINE_EXPIRY,
    expires_in,
    load,
    next_version,
    publish,
    renew,
)
from control_plane.release.people import refuse_persons_key
from shared.schemas import Assignment


class Director:
    """The director repository of one site."""

    def __init__(self, repository: Path, site: str) -> None:
        self._metadata = repository / "director" / site / "metadata"

    @property
    def root(self) -> Path:
        """The first root: what the site is given to trust."""
        return self._metadata / "1.root.json"

    def begin(self, online: Signer) -> None:
        """Make the repository, with nothing to run, unless it is there."""
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

    def assign(self, files: dict[str, TargetFile], assignment: Assignment, online: Signer) -> None:
        """Name a release's files for a component type; other types keep what they have."""
        metadata = load(self._metadata / "targets.json", Targets)
        kept = {
            path: target
            for path, target in metadata.signed.targets.items()
            if target.custom and target.custom["component_type"] != assignment.component_type
        }
        for path, target in files.items():
            custom = {"custom": assignment.model_dump(mode="json")}
            kept[path] = TargetFile(target.length, target.hashes, path, custom)
        metadata.signed.targets = kept
        next_version(metadata, ONLINE_EXPIRY)
        metadata.sign(online)
        publish(metadata, self._metadata)
        renew(self._metadata, online)

    def generation(self) -> int:
        """The newest generation that the site was told, 0 for none."""
        targets = load(self._metadata / "targets.json", Targets).signed.targets.values()
        return max((target.custom["generation"] for target in targets if target.custom), default=0)
