"""A proposal: a folder that holds all an approver needs, on any machine.

<proposal>/root.json                    only where people or keys change: the proposed root
<proposal>/targets.json                 the proposed targets
<proposal>/<name>/<version>/...         the files that are new
<proposal>/evidence/<name>/<version>/   what the approval rests on, for example a validation report
<proposal>/published/<version>.root.json, targets.json   what is published now, and every root up to it
<proposal>/published/<name>/<version>/manifest.json     to compare metrics with
<proposal>/signatures/<person>.json     each a `SignatureFile`
Nothing in a folder is believed: it may come from a machine that was broken into.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, ValidationError
from securesystemslib.signer import Key, Signature
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from control_plane.release.keys import public_pem
from control_plane.release.metadata_files import OFFLINE_EXPIRY, expires_in, load, write
from control_plane.release.people import check_people, check_readable, everybody, person, proposers
from shared.errors import Rejected
from shared.schemas import Frozen, Manifest
from shared.schemas.base import Name, Sha256

PROPOSED_BY = "x-pm-stack-smr-proposed-by"  # in the signed targets: {"name", "keyid"}
REASON = "x-pm-stack-smr-reason"
REVOKED = (
    "x-pm-stack-smr-revoked"  # in the signed targets: `name/version` to why; such a name never comes back
)
FILES = ("model.onnx", "manifest.json")
TARGET_PATH = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}/[1-9][0-9]{0,8}/(model\.onnx|manifest\.json)", re.ASCII
)  # as a site's agent takes it
SIGNATURE_BYTES_MAX = 16 * 1024  # two signatures are a kilobyte
ROOTS_MAX = 100  # a rotation a month for eight years
REASON_CHARS_MAX = 500
CLOCKS_APART = timedelta(days=1)  # between the proposer's machine and an approver's, at most
_HEX = r"^[0-9a-f]{2,2000}$"


class OneSignature(Frozen):
    """A TUF signature."""

    keyid: str = Field(pattern=r"^[0-9a-f]{64}$")
    sig: str = Field(pattern=_HEX)

    def tuf(self) -> Signature:
        """As python-tuf has it."""
        return Signature(self.keyid, self.sig)


class SignatureFile(Frozen):
    """What an approver, or the proposer, hands back: signatures over the proposed metadata."""

    format: Literal["pm-stack-smr/signature/1"] = "pm-stack-smr/signature/1"
    proposal: str = Field(max_length=100)
    name: Name
    targets: OneSignature
    root: OneSignature | None = None


class TargetNotes(Frozen):
    """What is signed with a new target: digests of its evidence by file name, where it is registered."""

    evidence: dict[Literal["report.json", "metrics.json"], Sha256] = Field(default_factory=dict)
    registered: str | None = Field(default=None, max_length=200)


class Change(NamedTuple):
    """Target paths that a proposal adds, takes away, or gives other bytes."""

    added: list[str]
    removed: list[str]
    altered: list[str]


@dataclass(frozen=True)
class Proposal:
    """A folder, read. `roots` are the published ones, `before` the published targets: none at the first."""

    folder: Path
    roots: tuple[Metadata[Root], ...]
    proposed_root: Metadata[Root] | None
    targets: Metadata[Targets]
    before: Metadata[Targets] | None

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Rejected when the folder is no proposal, or when what it says is published was never signed."""
        here = folder / "published"
        paths = sorted(here.glob("*.root.json"), key=lambda path: path.name.split(".")[0].zfill(12))
        if len(paths) > ROOTS_MAX:
            raise Rejected(f"{folder}: {len(paths)} roots; at most {ROOTS_MAX}")
        roots = tuple(load(path, Root) for path in paths)
        proposed = load(folder / "root.json", Root) if (folder / "root.json").exists() else None
        before = load(here / "targets.json", Targets) if roots else None
        if not roots and proposed is None:
            raise Rejected(f"{folder}: holds neither what is published nor a first root")
        for root in (*roots, *([proposed] if proposed else [])):
            check_readable(root.signed)
        found = cls(folder, roots, proposed, load(folder / "targets.json", Targets), before)
        found._check_published()
        return found

    @property
    def root(self) -> Root:
        """Whose signatures the proposed targets need."""
        return self.proposed_root.signed if self.proposed_root else self.roots[-1].signed

    @property
    def newest_root(self) -> Metadata[Root]:
        """The published root, or the first one that is to be."""
        root = self.roots[-1] if self.roots else self.proposed_root
        assert root is not None  # noqa: S101 - `open` refuses a folder that has neither
        return root

    @property
    def kind(self) -> Literal["root", "release", "revocation"]:
        """What it is about."""
        if self.proposed_root:
            return "root"
        return "release" if self.change().added else "revocation"

    @property
    def reason(self) -> str:
        """Why, in the proposer's words."""
        return str(self.targets.signed.unrecognized_fields.get(REASON, ""))[:REASON_CHARS_MAX]

    def change(self) -> Change:
        """What the proposed targets do to the published ones."""
        before = self.before.signed.targets if self.before else {}
        after = self.targets.signed.targets
        altered = [path for path in before.keys() & after.keys() if before[path] != after[path]]
        return Change(sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys()), altered)

    def published(self) -> dict[str, Manifest]:
        """Published manifests that lie here to compare with, by component type; each as it was approved."""
        found = {}
        for path in sorted((self.folder / "published").glob("*/*/manifest.json")):
            name = path.relative_to(self.folder / "published").as_posix()
            target = self.before.signed.targets.get(name) if self.before else None
            if target is None:
                raise Rejected(f"{self.folder.name}: published/{name} was never published")
            manifest = Manifest.model_validate_json(check_file(self.folder / "published", target))
            found[manifest.component_type] = manifest
        return found

    def proposer(self) -> tuple[str, str] | None:
        """`(name, key id)` of who proposed it; None for the first root, which nobody could sign for."""
        if self.before is None:
            return None
        said = self.targets.signed.unrecognized_fields.get(PROPOSED_BY)
        if not isinstance(said, dict) or set(said) != {"name", "keyid"}:
            raise Rejected(f"{self.folder.name}: does not say who proposed it")
        if person(self.roots[-1].signed, str(said["keyid"])) != said["name"]:
            raise Rejected(
                f"{self.folder.name}: the published root does not know {said['name']!r} by that key"
            )
        return str(said["name"]), str(said["keyid"])

    def check(self) -> None:
        """Everything that can be checked without running a model; Rejected names the first thing wrong."""
        for problem in (*self._term_problems(), *self._field_problems(), *self._change_problems()):
            raise Rejected(f"{self.folder.name}: {problem}")
        if self.proposed_root:
            self._check_root(self.proposed_root.signed)
        self._check_proposer()

    def signatures(self) -> dict[str, SignatureFile]:
        """Every signature file by person, valid or not; a file that is none is Rejected."""
        files = sorted((self.folder / "signatures").glob("*.json"))
        found = {path.stem: read_signature(path) for path in files}
        for stem, each in found.items():
            if each.name != stem:
                raise Rejected(f"{self.folder.name}: {stem}.json holds the signature of {each.name}")
        return found

    def signed_targets(self) -> Metadata[Targets]:
        """The proposed targets with every signature that was handed in."""
        for each in self.signatures().values():
            self.targets.signatures[each.targets.keyid] = each.targets.tuf()
        return self.targets

    def signed_root(self) -> Metadata[Root] | None:
        """The proposed root likewise."""
        for each in self.signatures().values():
            if self.proposed_root and each.root:
                self.proposed_root.signatures[each.root.keyid] = each.root.tuf()
        return self.proposed_root

    def _check_published(self) -> None:
        """The chain of roots and the targets of now hold by themselves."""
        try:
            for older, newer in zip(self.roots, self.roots[1:], strict=False):
                older.verify_delegate(Root.type, newer)
                if newer.signed.version != older.signed.version + 1:
                    raise Rejected(f"{self.folder.name}: root {newer.signed.version} does not follow")
            for root in self.roots:
                root.verify_delegate(Root.type, root)
            if self.before:
                self.roots[-1].verify_delegate(Targets.type, self.before)
        except UnsignedMetadataError as error:
            raise Rejected(
                f"{self.folder.name}: what it says is published was not approved: {error}"
            ) from error

    def _term_problems(self) -> list[str]:
        signed = [self.targets.signed, *([self.proposed_root.signed] if self.proposed_root else [])]
        latest = expires_in(OFFLINE_EXPIRY + CLOCKS_APART)
        problems = [
            f"the {each.type} would expire {each.expires:%Y-%m-%d}; between now and {latest:%Y-%m-%d} is "
            "right (or this machine's clock is wrong)"
            for each in signed
            if each.is_expired() or each.expires > latest
        ]
        version = self.before.signed.version + 1 if self.before else 1
        if self.targets.signed.version != version:
            problems.append(f"is targets version {self.targets.signed.version}; {version} would follow")
        return problems

    def _field_problems(self) -> list[str]:
        """What python-tuf would take, and this product never writes."""
        own = {PROPOSED_BY, REASON, REVOKED}
        extra = sorted(self.targets.signed.unrecognized_fields.keys() - own)
        problems = [f"its targets have the unknown field {name!r}" for name in extra]
        if self.targets.signed.delegations is not None:
            problems.append("delegates targets to other keys")
        return problems

    def _change_problems(self) -> list[str]:
        change, problems = self.change(), []
        if change.altered:
            problems.append(
                f"would give {', '.join(change.altered)} other bytes; a published release never changes"
            )
        if self.proposed_root and (change.added or change.removed):
            problems.append("changes people or keys and targets at once; propose them apart")
        if not self.proposed_root and bool(change.added) == bool(change.removed):
            problems.append("must either add releases or take some away")
        for path in change.added:
            if not TARGET_PATH.fullmatch(path):
                problems.append(f"{path!r} is no path of a release")
            if not _known_notes(self.targets.signed.targets[path].custom):
                problems.append(f"{path!r} has notes other than its evidence and where it is registered")
        for paths in (change.added, change.removed):
            problems += [f"{name} is not whole" for name in releases_of(paths) if not _whole(name, paths)]
        revoked, wanted = self._revoked(self.targets), self._revoked(self.before)
        wanted |= dict.fromkeys(releases_of(change.removed), self.reason)
        if revoked != wanted:
            problems.append("its list of revoked releases is not that of before and those it takes away")
        back = sorted(set(releases_of(change.added)) & wanted.keys())
        return problems + [f"{name} was revoked and cannot come back; give it a new version" for name in back]

    @staticmethod
    def _revoked(metadata: Metadata[Targets] | None) -> dict[str, Any]:
        found = metadata.signed.unrecognized_fields.get(REVOKED, {}) if metadata else {}
        return dict(found) if isinstance(found, dict) else {"": found}

    def _check_root(self, root: Root) -> None:
        version = self.roots[-1].signed.version + 1 if self.roots else 1
        if root.version != version:
            raise Rejected(f"{self.folder.name}: is root version {root.version}; {version} would follow")
        check_people(root)
        now = _material(self.roots[-1].signed) if self.roots else {}
        ever = {pem for old in self.roots for pem in _material(old.signed)}
        for pem, name in _material(root).items():
            if pem in ever and pem not in now:
                raise Rejected(f"{self.folder.name}: the key of {name} was taken away before; make a new one")

    def _check_proposer(self) -> None:
        proposer = self.proposer()
        if proposer is None:
            return
        name, keyid = proposer
        root = self.roots[-1].signed
        key = {**root.keys, **{key.keyid: key for key in proposers(root).values()}}[keyid]
        found = self.signatures().get(name)
        if found is None or not fits(key, self.targets, found.targets):
            raise Rejected(f"{self.folder.name}: {name} has not signed for proposing it")
        if self.proposed_root and not (found.root and fits(key, self.proposed_root, found.root)):
            raise Rejected(f"{self.folder.name}: {name} has not signed for proposing this root")


def fits(key: Key, metadata: Metadata, signature: OneSignature) -> bool:  # type: ignore[type-arg]
    """Whether a signature is this key's, over this metadata."""
    if signature.keyid != key.keyid:
        return False
    try:
        key.verify_signature(signature.tuf(), metadata.signed_bytes)
    except Exception:  # whatever a library says of a signature that does not fit
        return False
    return True


def read_signature(path: Path) -> SignatureFile:
    """Rejected when the file is none."""
    try:
        with path.open("rb") as file:
            return SignatureFile.model_validate_json(file.read(SIGNATURE_BYTES_MAX))
    except (OSError, ValidationError) as error:
        raise Rejected(f"{path.name}: is no signature file: {str(error)[:300]}") from error


def write_signature(folder: Path, found: SignatureFile) -> Path:
    """Put a signature file into a proposal."""
    path = folder / "signatures" / f"{found.name}.json"
    write(path, found.model_dump_json(indent=2).encode() + b"\n")
    return path


def releases_of(paths: list[str]) -> list[str]:
    """`name/version` of target paths."""
    return sorted({path.rpartition("/")[0] for path in paths})


def notes_of(targets: Targets, release: str) -> TargetNotes:
    """What was signed with a release's manifest."""
    target = targets.targets.get(f"{release}/manifest.json")
    try:
        return TargetNotes.model_validate((target and target.custom) or {})
    except ValidationError as error:
        raise Rejected(f"{release}: its notes cannot be read: {str(error)[:200]}") from error


def _known_notes(custom: object) -> bool:
    try:
        return custom is None or bool(TargetNotes.model_validate(custom))
    except ValidationError:
        return False


def _whole(release: str, paths: list[str]) -> bool:
    return all(f"{release}/{file}" in paths for file in FILES)


def _material(root: Root) -> dict[bytes, str]:
    return {public_pem(key): name for name, key in everybody(root).items()}


def check_file(folder: Path, target: TargetFile) -> bytes:
    """The bytes of a proposed target; Rejected when they are not those that would be signed for."""
    try:
        data = (folder / target.path).read_bytes()
        target.verify_length_and_hashes(data)
    except Exception as error:  # OSError, or TUF's mismatch
        raise Rejected(f"{target.path}: not the bytes that the proposal names: {error}") from error
    return data
