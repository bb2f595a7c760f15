"""Checks stored metadata again, without a network and without a clock (invariants 4 and 7).

Expiry is not looked at: it says when to stop *updating*, never when to stop scoring.
"""

from collections.abc import Sequence

from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, TargetFile, Targets
from tuf.api.serialization import DeserializationError

from shared.errors import Untrusted


def newest_root(trusted: bytes, chain: Sequence[bytes]) -> Metadata[Root]:
    """The newest root that the trusted one leads to through `chain`, each signed by the one before.

    What the trusted one has overtaken (an operator gave the site a newer one) is passed over.
    """
    root = _parse(trusted, Root)
    for data in chain:
        candidate = _parse(data, Root)
        if candidate.signed.version <= root.signed.version:
            continue
        try:
            root.signed.verify_delegate("root", candidate.signed_bytes, candidate.signatures)
            candidate.signed.verify_delegate("root", candidate.signed_bytes, candidate.signatures)
        except UnsignedMetadataError as error:
            raise Untrusted("root chain", f"version {candidate.signed.version}: {error}") from error
        root = candidate
    return root


def check_distinct_keys(root: Metadata[Root], repository: str) -> None:
    """Untrusted when a role counts one key as two: one person would be enough where two must agree."""
    for name, role in root.signed.roles.items():
        held = [
            str(root.signed.keys[keyid].keyval.get("public", keyid)).strip().lower() for keyid in role.keyids
        ]
        if len(set(held)) < len(held):
            raise Untrusted(
                f"{repository} root", f"version {root.signed.version}: {name} has one key under two ids"
            )


def signed_targets(root: Metadata[Root], data: bytes, repository: str) -> dict[str, TargetFile]:
    """The targets that enough keys signed; Untrusted when too few did."""
    check_distinct_keys(root, repository)
    metadata = _parse(data, Targets)
    try:
        root.signed.verify_delegate("targets", metadata.signed_bytes, metadata.signatures)
    except UnsignedMetadataError as error:
        raise Untrusted(f"{repository} targets signature", str(error)) from error
    targets: dict[str, TargetFile] = metadata.signed.targets
    return targets


def check_bytes(target: TargetFile, data: bytes, repository: str) -> None:
    """Untrusted unless `data` is the target, byte for byte."""
    try:
        target.verify_length_and_hashes(data)
    except RepositoryError as error:
        raise Untrusted(f"{repository} target hash", f"{target.path}: {error}") from error


def _parse(data: bytes, kind: type) -> Metadata:  # type: ignore[type-arg]
    try:
        found: Metadata = Metadata.from_bytes(data)  # type: ignore[type-arg]
    except DeserializationError as error:
        raise Untrusted("metadata format", str(error)[:200]) from error
    if not isinstance(found.signed, kind):
        raise Untrusted("metadata format", f"found {found.signed.type}")
    return found
