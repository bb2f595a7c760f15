"""Changes of people and keys: who may approve, who may propose, the online key, a site's director key."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from securesystemslib.signer import Key, Signer, SSlibKey
from tuf.api.metadata import Metadata, Root, Targets

from control_plane.release.image import ImageRepository
from control_plane.release.keys import same_material
from control_plane.release.metadata_files import (
    OFFLINE_EXPIRY,
    ONLINE_EXPIRY,
    load,
    next_version,
    only_writer,
    publish,
    renew,
)
from control_plane.release.people import (
    appoint,
    approvers,
    online_key,
    proposers,
    refuse_persons_key,
)
from shared.errors import ConfigError, Rejected

DIRECTOR_ROLES = ("root", "targets", "snapshot", "timestamp")  # all four have a director's one key


@dataclass(frozen=True)
class Appointments:
    """What a new root changes. None at all: it is only renewed."""

    add_approvers: Mapping[str, SSlibKey] = field(default_factory=dict)
    remove_approvers: tuple[str, ...] = ()
    add_proposers: Mapping[str, SSlibKey] = field(default_factory=dict)
    remove_proposers: tuple[str, ...] = ()
    online: SSlibKey | None = None


class Holder(NamedTuple):
    """One key that signs: for which repository and role, whose, and until when its metadata holds."""

    repository: str
    role: str
    name: str
    keyid: str
    scheme: str
    expires: str


def propose_root(image: ImageRepository, changes: Appointments, by: Signer, reason: str) -> Path:
    """Propose a new root, and the targets signed anew under it; the proposal's folder.

    It counts once enough approvers of the old root and of the new one have signed. Rejected or
    ConfigError when the change cannot stand.
    """
    root = Metadata(image.published_root())
    people = _changed("approver", approvers(root.signed), changes.add_approvers, changes.remove_approvers)
    proposing = _changed("proposer", proposers(root.signed), changes.add_proposers, changes.remove_proposers)
    online = changes.online or online_key(root.signed)
    appoint(root.signed, people, proposing, online, root.signed.roles["targets"].threshold)
    next_version(root, OFFLINE_EXPIRY)
    return image.propose_root(root, by, reason)


def refuse_second_duty(repository: Path, site: str, key: Key) -> None:
    """Rejected when a director's key is an approver's, a proposer's, the online role's or another site's."""
    image = ImageRepository(repository)
    if image.root.exists():
        refuse_persons_key(image.published_root(), key, f"the director of {site}")
    for path in sorted(repository.glob("director/*/metadata/root.json")):
        other, root = path.parent.parent.name, load(path, Root).signed
        if other != site and same_material(root.keys[root.roles["targets"].keyids[0]], key):
            raise Rejected(f"the director of {site} must have a key of its own; this one is {other}'s")


def rotate_director(repository: Path, site: str, old: Signer, new: Signer) -> int:
    """Give a site's director another key, at once: root signed by both, the rest by the new; its version.

    The site follows by itself. Rejected when `old` is not the director's key, or `new` has another duty.
    """
    folder = repository / "director" / site / "metadata"
    with only_writer(folder):
        root = load(folder / "root.json", Root)
        if old.public_key.keyid not in root.signed.roles["root"].keyids:
            raise Rejected(f"{site}: the old key is not its director's; who has lost it enrols the site anew")
        for path in folder.glob("[0-9]*.root.json"):
            earlier = load(path, Root).signed
            if any(same_material(key, new.public_key) for key in earlier.keys.values()):
                raise Rejected(f"{site}: the new key was its director's already; make another one")
        refuse_second_duty(repository, site, new.public_key)
        root.signed.keys.clear()
        for role in DIRECTOR_ROLES:
            root.signed.roles[role].keyids.clear()
            root.signed.add_key(new.public_key, role)
        next_version(root, OFFLINE_EXPIRY)
        root.sign(old)
        root.sign(new, append=True)
        targets = load(folder / "targets.json", Targets)
        next_version(targets, ONLINE_EXPIRY)
        targets.sign(new)
        publish(root, folder)
        publish(targets, folder)
        renew(folder, new)
        return root.signed.version


def holders(repository: Path) -> list[Holder]:
    """Every key that signs or proposes today."""
    image = ImageRepository(repository)
    found: list[Holder] = []
    if image.root.exists():
        root = image.published_root()
        people = [("approver", approvers(root)), ("proposer", proposers(root))]
        people.append(("snapshot, timestamp", {"online": online_key(root)}))
        for role, keys in people:
            found += [_holder("image", role, name, key, root) for name, key in sorted(keys.items())]
    for path in sorted(repository.glob("director/*/metadata/root.json")):
        root, site = load(path, Root).signed, path.parent.parent.name
        key = root.keys[root.roles["targets"].keyids[0]]
        found.append(_holder(f"director/{site}", "all", f"director-{site}", key, root))
    return found


def directors_naming(repository: Path, release: str) -> list[str]:
    """Sites whose director names a release (`name/version`): once it is revoked they need another."""
    return [
        path.parent.parent.name
        for path in sorted(repository.glob("director/*/metadata/targets.json"))
        if any(target.startswith(f"{release}/") for target in load(path, Targets).signed.targets)
    ]


def _changed(
    word: str, now: Mapping[str, Key], added: Mapping[str, SSlibKey], removed: tuple[str, ...]
) -> dict[str, Key]:
    """Who is left and who comes; one name in both gets another key."""
    unknown = sorted(set(removed) - now.keys())
    twice = sorted((added.keys() & now.keys()) - set(removed))
    problems = [f"{name} is no {word}; they are {', '.join(sorted(now)) or 'none'}" for name in unknown]
    problems += [f"{name} is {word} already; remove the old key in the same proposal" for name in twice]
    if problems:
        raise ConfigError(word, problems)
    return {**{name: key for name, key in now.items() if name not in removed}, **added}


def _holder(repository: str, role: str, name: str, key: Key, root: Root) -> Holder:
    return Holder(repository, role, name, key.keyid, key.scheme, root.expires.isoformat())
