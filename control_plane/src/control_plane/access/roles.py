"""Roles, and what each of them may do. An account has one or more.

Nobody makes accounts over the web, so there is no administrator: `control-plane account` runs on the centre's
machine, as whoever owns the centre's folder (decision 0033).
"""

from collections.abc import Iterable
from enum import StrEnum

from shared.errors import Rejected


class Permission(StrEnum):
    """What a route or a button needs."""

    OPEN = "open"  # nothing: the sign-in itself
    LOCAL = "local"  # that the caller is on this machine
    SELF = "self"  # that a person is signed in: their own password and tokens
    SEE = "see"
    ACKNOWLEDGE = "acknowledge"  # take alerts on
    ROLL_OUT = "roll_out"  # hold a roll-out, go on with it, take it back
    AUDIT = "audit"  # read the record and its proofs


SCOPES = (Permission.SEE, Permission.ACKNOWLEDGE, Permission.ROLL_OUT, Permission.AUDIT)  # of an API token


class Role(StrEnum):
    """What a person is to the plant."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ENGINEER = "engineer"
    APPROVER = "approver"  # approves with a key of their own, offline; the web shows them what waits
    AUDITOR = "auditor"


GRANTS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.SEE}),
    Role.OPERATOR: frozenset({Permission.SEE, Permission.ACKNOWLEDGE}),
    Role.ENGINEER: frozenset({Permission.SEE, Permission.ROLL_OUT}),
    Role.APPROVER: frozenset({Permission.SEE}),
    Role.AUDITOR: frozenset({Permission.SEE, Permission.AUDIT}),
}


def granted(roles: Iterable[Role]) -> frozenset[Permission]:
    """What these roles may do together."""
    return frozenset().union(*(GRANTS[role] for role in roles))


def roles_with(permission: Permission) -> str:
    """Whose the permission is, in words."""
    return " or ".join(role.value for role, has in GRANTS.items() if permission in has)


def parse_roles(names: Iterable[str]) -> tuple[Role, ...]:
    """Roles by name, each once; Rejected names what is none."""
    asked = list(dict.fromkeys(names))
    unknown = [name for name in asked if name not in set(Role)]
    if unknown or not asked:
        raise Rejected(f"found {', '.join(unknown) or 'no role'}; roles are {', '.join(Role)}")
    return tuple(Role(name) for name in asked)
