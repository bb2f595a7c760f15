"""Who approved a published release: read from the signatures under which it first came out."""

from pathlib import Path

from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root, Targets

from control_plane.release.metadata_files import load
from control_plane.release.people import approvers
from control_plane.release.proposal import PROPOSED_BY, REASON, OneSignature, fits, notes_of
from shared.errors import Rejected
from shared.schemas import Frozen


class Approval(Frozen):
    """`signed` are approvers whose signature holds, `threshold` how many of `could` were needed.

    `evidence` has the SHA-256 of each file that the approvers had before them, by its name.
    """

    targets_version: int
    signed: list[str]
    could: list[str]
    threshold: int
    proposed_by: str
    reason: str
    registered: str | None
    evidence: dict[str, str]

    @property
    def met(self) -> bool:
        """Enough people signed."""
        return len(self.signed) >= self.threshold


def approval_of(repository: Path, release: str) -> Approval:
    """The approval of `name/version`; Rejected when no published targets ever named it."""
    folder = repository / "image" / "metadata"
    metadata = _first_targets(folder, release)
    fields, notes = metadata.signed.unrecognized_fields, notes_of(metadata.signed, release)
    proposer = fields.get(PROPOSED_BY, {})
    roots = [load(path, Root).signed for path in reversed(_numbered(folder, "root"))]
    held = [(root, _signed(root, metadata, str(proposer.get("keyid", "")))) for root in roots]
    root, names = next(
        ((root, names) for root, names in held if len(names) >= root.roles["targets"].threshold), held[0]
    )
    return Approval(
        targets_version=metadata.signed.version,
        signed=names,
        could=sorted(approvers(root)),
        threshold=root.roles["targets"].threshold,
        proposed_by=str(proposer.get("name", "")),
        reason=str(fields.get(REASON, "")),
        registered=notes.registered,
        evidence=dict(notes.evidence),
    )


def _first_targets(folder: Path, release: str) -> Metadata[Targets]:
    for path in _numbered(folder, "targets"):
        metadata = load(path, Targets)
        if f"{release}/manifest.json" in metadata.signed.targets:
            return metadata
    raise Rejected(f"{release}: no published targets name it")


def _numbered(folder: Path, role: str) -> list[Path]:
    return sorted(folder.glob(f"[0-9]*.{role}.json"), key=lambda path: int(path.name.split(".")[0]))


def _signed(root: Root, metadata: Metadata[Targets], proposer_keyid: str) -> list[str]:
    """Approvers whose signature holds; a proposer's own never counts."""
    return sorted(
        name for name, key in approvers(root).items() if key.keyid != proposer_keyid and _holds(key, metadata)
    )


def _holds(key: Key, metadata: Metadata[Targets]) -> bool:
    made = metadata.signatures.get(key.keyid)
    return made is not None and fits(key, metadata, OneSignature(keyid=made.keyid, sig=made.signature))
