"""The plant's OPC UA server as its agent's `plant.security` wants it: only that agent is let in."""

import hmac
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from cryptography import x509

from shared.errors import ConfigError
from shared.opcua_certificates import (
    Credentials,
    application_uris,
    der,
    key_der,
    load_credentials,
    parse_key,
)
from shared.plant_config import OpcUaSecurity
from shared.schemas import utc_now

POLICIES = {
    "Basic256Sha256": ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    "Aes256Sha256RsaPss": ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
}


async def secure_server(server: Server, security: OpcUaSecurity, key: Path | None) -> None:
    """Take `key` and the trusted certificate that belongs to it for the server's own.

    ConfigError when there is no such certificate, or a file cannot be used.
    """
    agent = load_credentials(security)
    own_key = _own_key(key)
    own = [c for c in agent.trusted if c.public_key() == own_key.public_key() and application_uris(c)]
    if not own:
        raise ConfigError(
            "--server-key",
            [f"{key} is the key of no certificate in plant.security.trusted ({security.trusted})"],
        )
    server.set_security_policy([POLICIES[security.policy]])
    await server.load_certificate(der(own[0]))
    await server.load_private_key(key_der(own_key))
    await server.set_application_uri(application_uris(own[0])[0])
    if security.user is not None:
        server.set_identity_tokens([ua.UserNameIdentityToken])
    door = _Door(agent)
    server.set_certificate_validator(door.check)
    server.iserver.set_user_manager(door)


def _own_key(path: Path | None) -> Any:
    if path is None:
        raise ConfigError(
            "--server-key", ["is missing; it belongs to the certificate in plant.security.trusted"]
        )
    try:
        return parse_key(path.read_bytes())
    except OSError as error:
        raise ConfigError("--server-key", [f"{path} cannot be read: {error.strerror}"]) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(
            "--server-key", [f"{path} is no RSA key in PEM or DER without a password"]
        ) from error


class _Door:
    """Lets in who shows the agent's certificate, and where a user is configured its name and password too."""

    def __init__(self, agent: Credentials) -> None:
        self._agent, self._certificate = agent, der(agent.certificate)

    async def check(self, shown: x509.Certificate, client: ua.ApplicationDescription) -> None:
        """asyncua asks it for each new session."""
        if der(shown) != self._certificate:
            raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)
        if not shown.not_valid_before_utc <= utc_now() <= shown.not_valid_after_utc:
            raise ServiceError(ua.StatusCodes.BadCertificateTimeInvalid)
        if client.ApplicationUri not in application_uris(shown):
            raise ServiceError(ua.StatusCodes.BadCertificateUriInvalid)

    def get_user(
        self, _server: Any, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        """asyncua asks it when a session is activated; without encryption there is no certificate."""
        wanted = (self._agent.security.user, self._agent.password)
        same = all(
            hmac.compare_digest((a or "").encode(), (b or "").encode())
            for a, b in zip(wanted, (username, password), strict=True)
        )
        return User(role=UserRole.User) if certificate == self._certificate and same else None
