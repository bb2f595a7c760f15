"""An approval, made where the approver's key is: on any machine, from a proposal's folder alone.

The approver keeps a root of their own. It leads to the one that the folder says is published, so that
a centre that was broken into can neither invent people nor hide what was never approved.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Metadata, Root

from control_plane.release.gates import check_candidate
from control_plane.release.keys import name_of, same_material
from control_plane.release.metadata_files import load, save
from control_plane.release.people import approvers
from control_plane.release.proposal import (
    OneSignature,
    Proposal,
    SignatureFile,
    check_file,
    fits,
    notes_of,
    releases_of,
    write_signature,
)
from shared.errors import ConfigError, Rejected


class Signatures(NamedTuple):
    """Who signed a proposal, who could still, and how many are needed."""

    signed: list[str]
    missing: list[str]
    threshold: int
    met: bool


def approve(folder: Path, signer: Signer, trusted: Path | None = None) -> SignatureFile:
    """Check a proposal from end to end and sign it.

    `trusted` is the approver's own root: the proposal must lead from it, and it is kept up to date. Needs
    no network and nothing of the centre's. Rejected names what is wrong, Untrusted the check that a model
    failed; then nothing is signed.
    """
    proposal = Proposal.open(folder)
    if trusted is not None and trusted.exists():
        _check_trusted(proposal, trusted)
    name = _approver(proposal, signer)
    proposal.check()
    check_files(proposal)
    root, targets = proposal.proposed_root, proposal.targets
    found = SignatureFile(
        proposal=folder.name,
        name=name,
        targets=one_signature(targets, signer),
        root=one_signature(root, signer) if root else None,
    )
    if trusted is not None:  # what they see at their first approval, they hold the centre to ever after
        save(proposal.newest_root, trusted)
    return found


def check_files(proposal: Proposal) -> None:
    """Every new file is the one named, and every new model answers its golden windows on this machine."""
    for release in releases_of(proposal.change().added):
        for target in proposal.targets.signed.targets.values():
            if target.path.startswith(f"{release}/"):
                check_file(proposal.folder, target)
        check_candidate(proposal.folder / release)
        check_evidence(proposal, release)


def check_evidence(proposal: Proposal, release: str) -> None:
    """What the approval rests on is what the proposer signed for."""
    for name, digest in notes_of(proposal.targets.signed, release).evidence.items():
        path = proposal.folder / "evidence" / release / name
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise Rejected(f"{proposal.folder.name}: evidence/{release}/{name} is not what was proposed")


def add_signature(folder: Path, found: SignatureFile) -> None:
    """Take back a signature file; Rejected unless it is an approver's, over this proposal as it lies here."""
    proposal = Proposal.open(folder)
    if found.proposal != folder.name:
        raise Rejected(f"{found.name}'s signature is for {found.proposal}, not {folder.name}")
    keys = {key for key in _signers(proposal) if name_of(key) == found.name}
    if not any(_holds(key, found, proposal) for key in keys):
        raise Rejected(f"{folder.name}: the signature of {found.name} does not fit; was it changed since?")
    _refuse_proposer(proposal, *(key for key in keys if key.keyid == found.targets.keyid))
    write_signature(folder, found)


def signatures(proposal: Proposal) -> Signatures:
    """Who signed, as far as the signatures hold; a proposer's own never counts."""
    by = proposal.proposer()
    said = [each for each in proposal.signatures().values() if by is None or each.name != by[0]]
    held = {key.keyid for key in _signers(proposal) for each in said if _holds(key, each, proposal)}
    roots = [*proposal.roots[-1:], *([proposal.proposed_root] if proposal.proposed_root else [])]
    could = [_others(root.signed, by) for root in roots]
    needed = [root.signed.roles["targets"].threshold for root in roots]
    met = all(len(held & people.keys()) >= count for people, count in zip(could, needed, strict=True))
    everyone = {keyid: name for people in could for keyid, name in people.items()}
    signed = sorted({everyone[keyid] for keyid in held & everyone.keys()})
    missing = sorted(set(everyone.values()) - set(signed))
    return Signatures(signed, missing, max(needed), met)


def one_signature(metadata: Metadata, signer: Signer) -> OneSignature:  # type: ignore[type-arg]
    """A signature over the metadata; ConfigError when the key cannot sign, for example with a wrong PIN."""
    try:
        made = signer.sign(metadata.signed_bytes)
    except Exception as error:  # a token's library raises classes of its own
        raise ConfigError("--key", [f"could not sign: {type(error).__name__} {error}"]) from error
    return OneSignature(keyid=made.keyid, sig=made.signature)


def _check_trusted(proposal: Proposal, trusted: Path) -> None:
    """The approver's own root is in the chain of the folder."""
    own = load(trusted, Root)
    chain = proposal.roots or (proposal.proposed_root,)
    if any(root is not None and root.signed_bytes == own.signed_bytes for root in chain):
        return
    raise Rejected(
        f"{proposal.folder.name}: its roots do not lead from the root that you signed under ({trusted}, "
        f"version {own.signed.version}); somebody may want you to approve for another repository"
    )


def _approver(proposal: Proposal, signer: Signer) -> str:
    key = next((k for k in _signers(proposal) if k.keyid == signer.public_key.keyid), None)
    if key is None:
        raise Rejected(f"{proposal.folder.name}: this key is not one of the approvers'")
    _refuse_proposer(proposal, key)
    return name_of(key)


def _refuse_proposer(proposal: Proposal, *keys: Key) -> None:
    """Nobody approves what they proposed: by name, by key id and by what the key is made of."""
    by = proposal.proposer()
    if by is None:
        return
    name, keyid = by
    own = [key for key in _signers(proposal) if key.keyid == keyid]
    for key in keys:
        if name_of(key) == name or any(same_material(key, each) for each in own):
            raise Rejected(f"{proposal.folder.name}: {name} proposed it; somebody else must approve")


def _signers(proposal: Proposal) -> list[Key]:
    """Approvers of the published root and, where people change, of the proposed one."""
    roots = [*proposal.roots[-1:], *([proposal.proposed_root] if proposal.proposed_root else [])]
    found = {key.keyid: key for root in roots for key in approvers(root.signed).values()}
    return list(found.values())


def _others(root: Root, by: tuple[str, str] | None) -> dict[str, str]:
    """Key id to name of the approvers who did not propose it."""
    found = {key.keyid: name for name, key in approvers(root).items()}
    return {keyid: name for keyid, name in found.items() if by is None or (name != by[0] and keyid != by[1])}


def _holds(key: Key, found: SignatureFile, proposal: Proposal) -> bool:
    """Whether a signature file is this key's, over all that the proposal changes."""
    wanted: list[tuple[Metadata, OneSignature]] = [(proposal.targets, found.targets)]  # type: ignore[type-arg]
    if proposal.proposed_root:
        if found.root is None:
            return False
        wanted.append((proposal.proposed_root, found.root))
    return all(fits(key, metadata, signature) for metadata, signature in wanted)
