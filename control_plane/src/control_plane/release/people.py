"""Whom the signed root knows: approvers, who sign, and proposers, who may only propose."""

from collections.abc import Mapping

from cryptography.exceptions import UnsupportedAlgorithm
from securesystemslib.signer import Key, SSlibKey
from tuf.api.metadata import Root

from control_plane.release.keys import NAME_FIELD, distinct, name_of, public_pem, same_material
from shared.errors import ConfigError, Rejected

PROPOSERS = "x-pm-stack-smr-proposers"  # in the signed root: key id to key, of people who only propose
ONLINE = "the online role"
OFFLINE_ROLES, ONLINE_ROLES = ("root", "targets"), ("snapshot", "timestamp")


def approvers(root: Root) -> dict[str, Key]:
    """By name. The same people sign root and targets."""
    return {name_of(root.keys[keyid]): root.keys[keyid] for keyid in root.roles["targets"].keyids}


def proposers(root: Root) -> dict[str, Key]:
    """People who may propose and never approve, by name."""
    found = root.unrecognized_fields.get(PROPOSERS, {})
    try:
        keys = [SSlibKey.from_dict(keyid, dict(fields)) for keyid, fields in found.items()]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise Rejected(f"root {root.version}: its list of proposers cannot be read: {error}") from error
    return {name_of(key): key for key in keys}


def everybody(root: Root) -> dict[str, Key]:
    """Every key of the root by its owner's name, the online role's among them."""
    return {**approvers(root), **proposers(root), ONLINE: online_key(root)}


def online_key(root: Root) -> Key:
    """The one key of snapshot and timestamp; Rejected when a root has another number of them."""
    keyids = root.roles["timestamp"].keyids
    if len(keyids) != 1 or keyids[0] not in root.keys:
        raise Rejected(f"root {root.version}: the online role has one key; found {len(keyids)}")
    return root.keys[keyids[0]]


def person(root: Root, keyid: str) -> str | None:
    """Who holds this key, among those who may propose or approve."""
    known = {key.keyid: name for name, key in {**proposers(root), **approvers(root)}.items()}
    return known.get(keyid)


def appoint(
    root: Root, chosen: Mapping[str, Key], proposing: Mapping[str, Key], online: Key, threshold: int
) -> None:
    """Give every role of `root` its keys, whoever held it before. ConfigError names what two people share."""
    twice = sorted(chosen.keys() & proposing.keys())
    problems = [f"{name} is an approver already; an approver may propose too" for name in twice]
    if not 1 < threshold <= len(chosen):
        problems.append(f"threshold {threshold}; between 2 and the {len(chosen)} approvers")
    if problems:
        raise ConfigError("people", problems)
    distinct({**chosen, **proposing, ONLINE: online})
    root.keys.clear()
    for role in (*OFFLINE_ROLES, *ONLINE_ROLES):
        root.roles[role].keyids.clear()
        for key in chosen.values() if role in OFFLINE_ROLES else (online,):
            root.add_key(key, role)
        root.roles[role].threshold = threshold if role in OFFLINE_ROLES else 1
    root.unrecognized_fields[PROPOSERS] = {key.keyid: key.to_dict() for key in proposing.values()}


def check_readable(root: Root) -> None:
    """Rejected unless every role has keys that are there and can be read: python-tuf looks at neither."""
    for role, found in root.roles.items():
        if not set(found.keyids) <= root.keys.keys():
            raise Rejected(f"root {root.version}: the {role} role names a key that is not there")
    try:
        for key in everybody(root).values():
            public_pem(key)
    except (ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm) as error:
        raise Rejected(f"root {root.version}: a key cannot be read: {error}") from error


def check_people(root: Root) -> None:
    """Rejected unless every key belongs to one named person or role, in the roles that are theirs."""
    try:
        distinct(everybody(root))
    except ConfigError as error:
        raise Rejected(f"root {root.version}: {'; '.join(error.problems)}") from error
    problems = []
    signing = [set(root.roles[role].keyids) for role in (*OFFLINE_ROLES, *ONLINE_ROLES)]
    if signing[0] != signing[1] or signing[2] != signing[3]:
        problems.append("root and targets, snapshot and timestamp, must have the same keys")
    if len(approvers(root)) != len(signing[1]):
        problems.append("every approver has one key and one name")
    if any(root.roles[role].threshold < 2 for role in OFFLINE_ROLES):
        problems.append("a threshold below 2 lets one person publish")
    if set(root.keys) != signing[0] | signing[2]:
        problems.append("holds keys that no role has")
    if not root.consistent_snapshot:
        problems.append("is without consistent snapshots")
    nameless = [
        key.keyid[:8] for key in root.keys.values() if key.unrecognized_fields.get(NAME_FIELD) is None
    ]
    if problems or nameless:
        problems += [f"key {keyid} has no name" for keyid in nameless]
        raise Rejected(f"root {root.version}: {'; '.join(problems)}")


def refuse_persons_key(root: Root, key: Key, duty: str) -> None:
    """Rejected when a key for another duty is one that the root knows."""
    for owner, found in everybody(root).items():
        if same_material(found, key):
            raise Rejected(f"{duty} must have a key of its own; this one is {owner}'s")
