"""Who calls: a person in a browser, or a program with an API token."""

from dataclasses import dataclass, field

from control_plane.access.roles import Permission, Role


@dataclass(frozen=True)
class Caller:
    """An account, and what this session or token of it may do. `key` is the secret's SHA-256."""

    account: str
    roles: tuple[Role, ...]
    permissions: frozenset[Permission]
    key: str = field(repr=False)
    by_token: str = ""  # the token's name; empty for a session
    must_change: bool = False  # the password, before anything else

    def may(self, permission: Permission) -> bool:
        """Whether the permission is held."""
        return permission in self.permissions
