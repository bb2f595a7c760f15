"""The image repository: every release that people approved (PRD 7.3, Uptane's image repository).

<repository>/image/metadata/[<version>.]{root,targets,snapshot,timestamp}.json
<repository>/image/targets/<name>/<version>/{model.onnx,manifest.json}
<repository>/proposals/{ceremony,targets-<version>}/{root.json?,targets.json,<name>/<version>/...}
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import onnx
from pydantic import ValidationError
from securesystemslib.signer import Key, Signer, SSlibKey
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from control_plane.release.keys import NAME_FIELD, distinct
from control_plane.release.metadata_files import (
    OFFLINE_EXPIRY,
    expires_in,
    load,
    next_version,
    publish,
    renew,
    save,
)
from shared.errors import ConfigError, Rejected
from shared.schemas import Manifest

PROPOSED_BY = "x-pm-stack-smr-proposed-by"  # in the signed targets: nobody approves their own proposal
FILES = ("model.onnx", "manifest.json")


class Signatures(NamedTuple):
    """Who signed a proposal, who could still, and how many are needed."""

    signed: list[str]
    missing: list[str]
    threshold: int
    met: bool


class ImageRepository:
    """The image repository under one folder."""

    def __init__(self, repository: Path) -> None:
        self._metadata = repository / "image" / "metadata"
        self._targets = repository / "image" / "targets"
        self._proposals = repository / "proposals"

    def begin(self, approvers: Mapping[str, SSlibKey], online: Key, threshold: int) -> Path:
        """Propose the first root and an empty targets role; it counts once `threshold` approvers signed."""
        if (self._metadata / "root.json").exists():
            raise ConfigError(str(self._metadata), ["has a root already"])
        if not 1 < threshold <= len(approvers):
            raise ConfigError(
                "--threshold", [f"found {threshold}; between 2 and the {len(approvers)} approvers"]
            )
        distinct(
            {**approvers, "the online role": online} if isinstance(online, SSlibKey) else dict(approvers)
        )
        root = Root(expires=expires_in(OFFLINE_EXPIRY), consistent_snapshot=True)
        for role in ("root", "targets"):
            for key in approvers.values():
                root.add_key(key, role)
            root.roles[role].threshold = threshold
        for role in ("snapshot", "timestamp"):
            root.add_key(online, role)
        folder = self._proposals / "ceremony"
        save(Metadata(root), folder / "root.json")
        save(Metadata(Targets(expires=expires_in(OFFLINE_EXPIRY))), folder / "targets.json")
        return folder

    def propose(self, releases: Sequence[Path], by: str) -> Path:
        """Stage releases (folders with `model.onnx`, `manifest.json`) for one approval.

        Rejected when one is not sound. The proposal is named for the targets version that it would be.
        """
        metadata = load(self._metadata / "targets.json", Targets)
        next_version(metadata, OFFLINE_EXPIRY)
        metadata.signed.unrecognized_fields[PROPOSED_BY] = by
        folder = self._proposals / f"targets-{metadata.signed.version}"
        shutil.rmtree(folder, ignore_errors=True)
        for release in releases:
            manifest = check_release(release)
            for file in FILES:
                path = f"{manifest.folder}/{file}"
                if path in metadata.signed.targets:
                    raise Rejected(f"{path} is published already; a published release never changes")
                copy = folder / path
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(release / file, copy)
                metadata.signed.targets[path] = TargetFile.from_file(path, str(copy))
        save(metadata, folder / "targets.json")
        return folder

    def approve(self, proposal: Path, signer: Signer) -> str:
        """Add one approver's signature to every metadata file of the proposal; their name."""
        root = self._root(proposal)
        key = root.signed.keys.get(signer.public_key.keyid)
        if key is None or key.keyid not in root.signed.roles["targets"].keyids:
            raise Rejected(f"{proposal.name}: this key is not one of the approvers'")
        targets = load(proposal / "targets.json", Targets)
        name = name_of(key)
        if targets.signed.unrecognized_fields.get(PROPOSED_BY) == name:
            raise Rejected(f"{proposal.name}: {name} proposed it; somebody else must approve")
        targets.sign(signer, append=True)
        save(targets, proposal / "targets.json")
        if (proposal / "root.json").exists():
            root.sign(signer, append=True)
            save(root, proposal / "root.json")
        return name

    def signatures(self, proposal: Path) -> Signatures:
        """Who signed, as far as the signatures hold."""
        root, targets = self._root(proposal), load(proposal / "targets.json", Targets)
        found = root.signed.get_verification_result("targets", targets.signed_bytes, targets.signatures)
        by = targets.signed.unrecognized_fields.get(PROPOSED_BY)
        signed = sorted(name_of(key) for key in found.signed.values() if name_of(key) != by)
        missing = sorted(name_of(key) for key in found.unsigned.values() if name_of(key) != by)
        threshold = root.signed.roles["targets"].threshold
        return Signatures(signed, missing, threshold, len(signed) >= threshold)

    def publish(self, proposal: Path, online: Signer) -> None:
        """Publish an approved proposal: targets first, then the metadata that names them."""
        state = self.signatures(proposal)
        if not state.met:
            raise Rejected(
                f"{proposal.name}: {len(state.signed)} of {state.threshold} approvals "
                f"(signed: {', '.join(state.signed) or 'nobody'}; could sign: {', '.join(state.missing)})"
            )
        root, targets = self._root(proposal), load(proposal / "targets.json", Targets)
        self._check_order(root, targets, proposal)
        for path in targets.signed.targets:
            if (proposal / path).exists():
                (self._targets / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(proposal / path, self._targets / path)
        if (proposal / "root.json").exists():
            publish(root, self._metadata)
        publish(targets, self._metadata)
        renew(self._metadata, online)

    @property
    def root(self) -> Path:
        """The first root: what every site is given to trust."""
        return self._metadata / "1.root.json"

    def targets(self) -> dict[str, TargetFile]:
        """Every published target by path."""
        if not (self._metadata / "targets.json").exists():
            return {}
        return load(self._metadata / "targets.json", Targets).signed.targets

    def release(self, folder: str) -> tuple[Manifest, bytes]:
        """A published release, its bytes checked against the signed targets; Rejected when not there."""
        root, metadata = self._published()
        try:
            root.signed.verify_delegate("targets", metadata.signed_bytes, metadata.signatures)
        except UnsignedMetadataError as error:
            raise Rejected(f"{self._metadata}: targets are not signed by enough approvers") from error
        found = []
        for file in FILES:
            target = metadata.signed.targets.get(f"{folder}/{file}")
            if target is None:
                raise Rejected(f"{folder} is not published; there are {', '.join(self.releases()) or 'none'}")
            try:
                data = (self._targets / folder / file).read_bytes()
                target.verify_length_and_hashes(data)
            except (OSError, RepositoryError) as error:
                raise Rejected(f"{target.path}: not the bytes that were approved: {error}") from error
            found.append(data)
        return Manifest.model_validate_json(found[1]), found[0]

    def releases(self) -> list[str]:
        """`name/version` of every published release."""
        return sorted(
            path.removesuffix("/model.onnx") for path in self.targets() if path.endswith("/model.onnx")
        )

    def _root(self, proposal: Path) -> Metadata[Root]:
        own = proposal / "root.json"
        return load(own if own.exists() else self._metadata / "root.json", Root)

    def _published(self) -> tuple[Metadata[Root], Metadata[Targets]]:
        return load(self._metadata / "root.json", Root), load(self._metadata / "targets.json", Targets)

    def _check_order(self, root: Metadata[Root], targets: Metadata[Targets], proposal: Path) -> None:
        if (proposal / "root.json").exists():
            root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
            return
        published = load(self._metadata / "targets.json", Targets).signed.version
        if targets.signed.version != published + 1:
            raise Rejected(
                f"{proposal.name}: was proposed on targets version {targets.signed.version - 1}, "
                f"the repository is at {published}; propose it again"
            )


def check_release(folder: Path) -> Manifest:
    """The manifest of a sound release folder; Rejected names what is wrong."""
    try:
        manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
        model = (folder / "model.onnx").read_bytes()
    except (OSError, ValidationError) as error:
        raise Rejected(f"{folder}: {error}") from error
    found = hashlib.sha256(model).hexdigest()
    if found != manifest.sha256:
        raise Rejected(f"{folder}: model.onnx has SHA-256 {found}, the manifest says {manifest.sha256}")
    if manifest.feature_spec.hash() != manifest.feature_spec_hash:
        raise Rejected(f"{folder}: feature_spec_hash is not that of the feature spec")
    graph = onnx.load_model_from_string(model).graph
    outside = [t.name for t in graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        raise Rejected(
            f"{folder}: the weights {outside[:3]} lie outside model.onnx; a signature would not cover them"
        )
    return manifest


def name_of(key: Key) -> str:
    """Whose key it is, as the signed root says."""
    return str(key.unrecognized_fields.get(NAME_FIELD, key.keyid[:8]))
