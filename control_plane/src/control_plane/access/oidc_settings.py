"""Sign-in at an OpenID provider, from the environment: PM_OIDC_*."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from control_plane.access.roles import Role
from shared.errors import ConfigError
from shared.listen import is_loopback

ISSUER, CLIENT_ID, CLIENT_SECRET = "PM_OIDC_ISSUER", "PM_OIDC_CLIENT_ID", "PM_OIDC_CLIENT_SECRET"
ROLE_CLAIM, ROLES = "PM_OIDC_ROLE_CLAIM", "PM_OIDC_ROLES"


@dataclass(frozen=True)
class OidcSettings:
    """`roles` says which value of the claim `role_claim` is which role here."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    roles: Mapping[str, Role]
    role_claim: str = "roles"

    @property
    def name(self) -> str:
        """What the button at the sign-in calls it."""
        return urlsplit(self.issuer).hostname or self.issuer


def oidc_settings(environment: Mapping[str, str]) -> OidcSettings | None:
    """None where no issuer is named; ConfigError with every problem where something of it is wrong."""
    issuer = environment.get(ISSUER, "").rstrip("/")
    if not issuer:
        return None
    problems = [
        f"{name} is not set" for name in (CLIENT_ID, CLIENT_SECRET, ROLES) if not environment.get(name)
    ]
    at = urlsplit(issuer)
    if at.scheme != "https" and not (at.scheme == "http" and is_loopback(at.hostname or "")):
        problems.append(f"{ISSUER} is {issuer!r}; expected https://...")
    pairs = [pair.strip().rpartition("=") for pair in environment.get(ROLES, "").split(",") if pair.strip()]
    problems += [
        f"{ROLES}: found {value + sign + role!r}; expected VALUE=ROLE, with a role of {', '.join(Role)}"
        for value, sign, role in pairs
        if not value or role not in set(Role)
    ]
    if problems:
        raise ConfigError("PM_OIDC_*", problems)
    return OidcSettings(
        issuer,
        environment[CLIENT_ID],
        environment[CLIENT_SECRET],
        {value: Role(role) for value, _, role in pairs},
        environment.get(ROLE_CLAIM) or "roles",
    )
