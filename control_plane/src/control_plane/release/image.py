"""The image repository: every release that people approved (PRD 7.3, Uptane's image repository).

<repository>/image/metadata/[<version>.]{root,targets,snapshot,timestamp}.json
<repository>/image/targets/<name>/<version>/{model.onnx,manifest.json}
<repository>/evidence/<name>/<version>/{report.json,metrics.json}
<repository>/proposals/{root-<version>,targets-<version>}/      see `control_plane.release.proposal`
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError
from securesystemslib.signer import Key, Signer, SSlibKey
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from control_plane.release import approval
from control_plane.release.approval import Signatures, check_files, one_signature
from control_plane.release.gates import check_candidate
from control_plane.release.metadata_files import (
    OFFLINE_EXPIRY,
    expires_in,
    load,
    names_newest,
    next_version,
    only_writer,
    publish,
    renew,
    save,
    write,
)
from control_plane.release.people import ONLINE_ROLES, appoint, person
from control_plane.release.proposal import (
    FILES,
    PROPOSED_BY,
    REASON,
    REASON_CHARS_MAX,
    REVOKED,
    Proposal,
    SignatureFile,
    TargetNotes,
    notes_of,
    releases_of,
    write_signature,
)
from shared import __version__
from shared.errors import ConfigError, Rejected
from shared.schemas import Manifest

__all__ = ["FILES", "Candidate", "ImageRepository", "Signatures"]


class Candidate(NamedTuple):
    """A release to propose: its folder, evidence by file name, and where it is registered."""

    folder: Path
    evidence: Mapping[str, bytes] = {}
    registered: str | None = None


class ImageRepository:
    """The image repository under one folder."""

    def __init__(self, repository: Path) -> None:
        self._metadata = repository / "image" / "metadata"
        self._targets = repository / "image" / "targets"
        self._evidence = repository / "evidence"
        self._proposals = repository / "proposals"

    def begin(
        self,
        approvers: Mapping[str, SSlibKey],
        online: Key,
        threshold: int,
        proposers: Mapping[str, SSlibKey] | None = None,
    ) -> Path:
        """Propose the first root and an empty targets role; it counts once `threshold` approvers signed."""
        if (self._metadata / "root.json").exists():
            raise ConfigError(str(self._metadata), ["has a root already"])
        root = Root(expires=expires_in(OFFLINE_EXPIRY), consistent_snapshot=True)
        appoint(root, approvers, proposers or {}, online, threshold)
        folder = self._proposals / "root-1"
        shutil.rmtree(folder, ignore_errors=True)
        save(Metadata(root), folder / "root.json")
        save(Metadata(Targets(expires=expires_in(OFFLINE_EXPIRY))), folder / "targets.json")
        return folder

    def propose(self, releases: Sequence[Path | Candidate], by: Signer, reason: str = "") -> Path:
        """Stage releases (folders with `model.onnx`, `manifest.json`) for one approval.

        `by` signs for proposing them. Rejected when one is not sound, Untrusted when one fails its own
        golden windows. The proposal is named for the targets version that it would be.
        """
        targets = self._next_targets(by, reason)
        folder = self._new_folder(f"targets-{targets.signed.version}")
        for release in releases:
            candidate = release if isinstance(release, Candidate) else Candidate(release)
            self._stage(candidate, folder, targets.signed)
        return self._offer(folder, by, targets)

    def propose_revocation(self, releases: Sequence[str], by: Signer, reason: str) -> Path:
        """Propose to take published releases (`name/version`) away, for ever, under those names."""
        if not reason:
            raise Rejected("a revocation says why")
        targets = self._next_targets(by, reason)
        revoked = targets.signed.unrecognized_fields.setdefault(REVOKED, {})
        for release in releases:
            if f"{release}/model.onnx" not in targets.signed.targets:
                raise Rejected(
                    f"{release} is not published; there are {', '.join(self.releases()) or 'none'}"
                )
            revoked[release] = reason
            for file in FILES:
                del targets.signed.targets[f"{release}/{file}"]
        folder = self._new_folder(f"targets-{targets.signed.version}")
        return self._offer(folder, by, targets)

    def propose_root(self, root: Metadata[Root], by: Signer, reason: str) -> Path:
        """Propose a root that follows the published one, with the targets signed anew under it."""
        targets = self._next_targets(by, reason)
        return self._offer(self._new_folder(f"root-{root.signed.version}"), by, targets, root)

    def approve(self, proposal: Path, signer: Signer) -> str:
        """Approve where the repository itself is; the approver's name. Offline: `approval.approve`."""
        found = approval.approve(proposal, signer)
        approval.add_signature(proposal, found)
        return found.name

    def signatures(self, proposal: Path) -> Signatures:
        """Who signed, as far as the signatures hold."""
        return approval.signatures(Proposal.open(proposal))

    def proposals(self) -> list[Path]:
        """Proposals that could still be published."""
        found = []
        for folder in sorted(self._proposals.glob("*-[0-9]*")):
            try:
                self._check_order(Proposal.open(folder))
            except Rejected:
                continue
            found.append(folder)
        return found

    def publish(self, proposal: Path, online: Signer) -> None:
        """Publish an approved proposal: files, root, targets, then the metadata that names them.

        Rejected when it is not approved, or not made for what is published now. Cut off, it is published
        again.
        """
        found = Proposal.open(proposal)
        with only_writer(self._metadata):
            if not self._cut_off(found):
                self._check_order(found)
            found.check()
            state = approval.signatures(found)
            if not state.met:
                raise Rejected(
                    f"{proposal.name}: {len(state.signed)} of {state.threshold} approvals "
                    f"(signed: {', '.join(state.signed) or 'nobody'}; could sign: {', '.join(state.missing)})"
                )
            if online.public_key.keyid not in found.root.roles[ONLINE_ROLES[0]].keyids:
                raise Rejected(f"{proposal.name}: this key is not the online role's")
            check_files(found)
            self._copy_files(found)
            root = found.signed_root()
            if root:
                publish(root, self._metadata)
            publish(found.signed_targets(), self._metadata)
            renew(self._metadata, online)

    @property
    def root(self) -> Path:
        """The first root: what every site is given to trust."""
        return self._metadata / "1.root.json"

    def published_root(self) -> Root:
        """The root of now; Rejected before the ceremony."""
        return load(self._metadata / "root.json", Root).signed

    def targets(self) -> dict[str, TargetFile]:
        """Every published target by path."""
        if not (self._metadata / "targets.json").exists():
            return {}
        return load(self._metadata / "targets.json", Targets).signed.targets

    def release(self, folder: str) -> tuple[Manifest, bytes]:
        """A published release, its bytes checked against the signed targets; Rejected when not there, or when
        it is of a form that this version cannot read."""
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
        try:
            return Manifest.model_validate_json(found[1]), found[0]
        except ValidationError as error:
            found_wrong = error.errors()[0]
            where, what = ".".join(map(str, found_wrong["loc"])), found_wrong["msg"]
            raise Rejected(
                f"{folder}/manifest.json cannot be read by version {__version__}: {where}: {what}; "
                "a newer one may have made it"
            ) from error

    def load_model(self, model_uri: str) -> tuple[bytes, Manifest]:
        """The published release that people approved as this registered version; Rejected when none is.

        MLflow's versions can be changed: where a release is served, what was signed says what it is.
        """
        release = model_uri.removeprefix("models:/")
        manifest, model = self.release(release)
        signed = self.registered(release)
        if signed != model_uri:
            raise Rejected(
                f"{release} was approved {f'as {signed}' if signed else 'without being registered'}"
            )
        return model, manifest

    def registered(self, folder: str) -> str:
        """The registered version that a published release was approved as; "" without one."""
        return notes_of(self._published()[1].signed, folder).registered or ""

    def releases(self) -> list[str]:
        """`name/version` of every published release."""
        return sorted(
            path.removesuffix("/model.onnx") for path in self.targets() if path.endswith("/model.onnx")
        )

    def newest(self) -> dict[str, Manifest]:
        """The newest published manifest of each component type."""
        found: dict[str, Manifest] = {}
        for release in self.releases():
            manifest, _ = self.release(release)
            known = found.get(manifest.component_type)
            if known is None or known.version < manifest.version:
                found[manifest.component_type] = manifest
        return found

    def _published(self) -> tuple[Metadata[Root], Metadata[Targets]]:
        return load(self._metadata / "root.json", Root), load(self._metadata / "targets.json", Targets)

    def _next_targets(self, by: Signer, reason: str) -> Metadata[Targets]:
        root, targets = self._published()
        name = person(root.signed, by.public_key.keyid)
        if name is None:
            known = ", ".join(sorted(person(root.signed, keyid) or "" for keyid in root.signed.keys))
            raise Rejected(f"key {by.public_key.keyid[:8]} is nobody's who may propose (known: {known})")
        next_version(targets, OFFLINE_EXPIRY)
        fields = targets.signed.unrecognized_fields
        fields[PROPOSED_BY] = {"name": name, "keyid": by.public_key.keyid}
        fields[REASON] = reason[:REASON_CHARS_MAX]
        return targets

    def _offer(
        self, folder: Path, by: Signer, targets: Metadata[Targets], root: Metadata[Root] | None = None
    ) -> Path:
        """Complete a proposal's folder: what is published, what is proposed, the proposer's signature."""
        name = person(load(self._metadata / "root.json", Root).signed, by.public_key.keyid)
        if name is None:
            raise Rejected(f"the published root knows nobody by the key {by.public_key.keyid[:8]}")
        for path in (*self._metadata.glob("[0-9]*.root.json"), self._metadata / "targets.json"):
            (folder / "published").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / "published" / path.name)
        signed = SignatureFile(
            proposal=folder.name,
            name=name,
            targets=one_signature(targets, by),
            root=one_signature(root, by) if root else None,
        )
        targets.signatures.clear()  # signatures travel as files of their own
        save(targets, folder / "targets.json")
        if root:
            root.signatures.clear()
            save(root, folder / "root.json")
        write_signature(folder, signed)
        Proposal.open(folder).check()
        return folder

    def _new_folder(self, name: str) -> Path:
        folder = self._proposals / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def _stage(self, candidate: Candidate, folder: Path, targets: Targets) -> None:
        manifest = check_candidate(candidate.folder)
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in candidate.evidence.items()}
        self._copy_published(manifest.component_type, folder)
        notes = TargetNotes(evidence=digests, registered=candidate.registered)
        for name, data in candidate.evidence.items():
            write(folder / "evidence" / manifest.folder / name, data)
        for file in FILES:
            path = f"{manifest.folder}/{file}"
            if path in targets.targets:
                raise Rejected(f"{path} is published already; a published release never changes")
            write(folder / path, (candidate.folder / file).read_bytes())
            targets.targets[path] = target = TargetFile.from_file(path, str(folder / path))
            if file == "manifest.json" and (notes.evidence or notes.registered):
                target.unrecognized_fields["custom"] = notes.model_dump(mode="json", exclude_none=True)

    def _copy_published(self, component_type: str, folder: Path) -> None:
        """The newest published manifest of a type, for approvers to compare with."""
        newest = self.newest().get(component_type)
        if newest is not None:
            path = f"{newest.folder}/manifest.json"
            write(folder / "published" / path, (self._targets / path).read_bytes())

    def _copy_files(self, proposal: Proposal) -> None:
        for path in proposal.change().added:
            write(self._targets / path, (proposal.folder / path).read_bytes())
        for release in releases_of(proposal.change().added):
            for file in (proposal.folder / "evidence" / release).glob("*.json"):
                write(self._evidence / release / file.name, file.read_bytes())

    def _cut_off(self, proposal: Proposal) -> bool:
        """Whether a publication of this very proposal ended half-way: what is there is its own, and
        snapshot and timestamp do not name it yet. Publishing it once more completes it."""
        if not (self._metadata / "root.json").exists():
            return False
        root, proposed = load(self._metadata / "root.json", Root), proposal.proposed_root
        mine = proposed is not None and root.signed_bytes == proposed.signed_bytes
        if not (self._metadata / "targets.json").exists():
            return mine
        targets = self._published()[1]
        if targets.signed_bytes == proposal.targets.signed_bytes:
            return not names_newest(self._metadata)
        return mine and proposal.before is not None and targets.signed_bytes == proposal.before.signed_bytes

    def _check_order(self, proposal: Proposal) -> None:
        """It was made for what is published now, people and targets both."""
        if not (self._metadata / "root.json").exists():
            if proposal.roots:
                raise Rejected(f"{proposal.folder.name}: is of another repository")
            return
        root, targets = self._published()
        if not proposal.roots or proposal.roots[-1].signed_bytes != root.signed_bytes:
            raise Rejected(f"{proposal.folder.name}: was proposed under another root; propose it again")
        if proposal.before is None or proposal.before.signed_bytes != targets.signed_bytes:
            raise Rejected(
                f"{proposal.folder.name}: was proposed on targets version "
                f"{proposal.targets.signed.version - 1}, the repository is at {targets.signed.version}; "
                "propose it again"
            )
