"""Sign-in at an OpenID provider: authorization code with PKCE, the ID token checked against its keys."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx
from authlib.integrations.starlette_client import OAuth, OAuthError
from joserfc.errors import JoseError
from starlette.requests import Request
from starlette.responses import Response

from control_plane.access.oidc_settings import OidcSettings
from control_plane.access.roles import Role
from shared.errors import Rejected

BACK = "/sign-in/oidc/back"
PENDING_LIFE_S = 600.0  # for a person to sign in at the provider
PENDING_MAX = 1000  # begun and not ended; the oldest begins anew
PROVIDER_TIMEOUT_S = 10.0  # for each of its answers
_COOKIE = "pm-oidc"


class Vouched(NamedTuple):
    """Whom the provider vouches for: its own name for the person, a name for people, the roles here."""

    subject: str
    name: str
    roles: tuple[Role, ...]


class Provider:
    """The provider's counterpart here. What a sign-in has to come back with stays on this side."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._pending: OrderedDict[str, tuple[float, dict[str, Any], str]] = OrderedDict()
        self._client = OAuth().register(
            "oidc",
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            server_metadata_url=f"{settings.issuer}/.well-known/openid-configuration",
            client_kwargs={
                "scope": "openid profile email",
                "code_challenge_method": "S256",
                "timeout": PROVIDER_TIMEOUT_S,
            },
        )

    async def begin(self, request: Request, then: str) -> Response:
        """Send the browser there; Rejected where the provider cannot be asked."""
        request.scope["session"] = {}
        try:
            back = str(request.base_url).rstrip("/") + BACK
            answer: Response = await self._client.authorize_redirect(request, back)
        except (OAuthError, httpx.HTTPError, ValueError, RuntimeError) as error:
            raise Rejected(f"The provider {self._settings.name} cannot be asked: {error}") from error
        secret = secrets.token_urlsafe()
        self._pending[secret] = (time.monotonic() + PENDING_LIFE_S, dict(request.session), then)
        while len(self._pending) > PENDING_MAX:
            self._pending.popitem(last=False)
        secure = request.url.scheme == "https"
        answer.set_cookie(
            _COOKIE, secret, int(PENDING_LIFE_S), path=BACK, httponly=True, secure=secure, samesite="lax"
        )
        return answer

    async def finish(self, request: Request) -> tuple[Vouched, str]:
        """Whom it vouches for, and where they wanted to go; Rejected says why it is not believed."""
        until, begun, then = self._pending.pop(request.cookies.get(_COOKIE, ""), (0.0, {}, ""))
        if time.monotonic() > until:
            raise Rejected("This sign-in was not begun in this browser, or too long ago. Please begin again.")
        request.scope["session"] = begun
        try:
            token = await self._client.authorize_access_token(request)
        except (OAuthError, JoseError, httpx.HTTPError, ValueError, RuntimeError) as error:
            raise Rejected(f"The provider's answer is not believed: {error}") from error
        return self._vouched(token.get("userinfo") or {}), then

    def _vouched(self, claims: Mapping[str, Any]) -> Vouched:
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject:
            raise Rejected("The provider's answer has no ID token with a subject.")
        found = claims.get(self._settings.role_claim, [])
        values = [found] if isinstance(found, str) else found if isinstance(found, list) else []
        roles = tuple(dict.fromkeys(self._settings.roles[v] for v in values if v in self._settings.roles))
        if not roles:
            claim = self._settings.role_claim
            raise Rejected(f"The provider knows you, but no value of its claim {claim!r} is a role here.")
        name = claims.get("preferred_username") or claims.get("email") or subject
        return Vouched(f"{self._settings.issuer} {subject}", str(name), roles)
