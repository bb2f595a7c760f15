"""What secures an OPC UA connection, checked before a word is said in confidence.

A server is trusted when the certificate that it shows is itself one of `trusted`; who issued it says
nothing. Both certificates must be within their time, and name their application's URI.
"""

from datetime import datetime
from typing import Final

from asyncua import Client, ua
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import CertProperties, x509_from_der
from cryptography import x509

from shared.errors import ConfigError
from shared.opcua_certificates import Credentials, application_uris, der, described, key_der
from shared.plant_config import OpcUaSecurity
from shared.schemas import utc_now

POLICIES: Final = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes256Sha256RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}
_CODES: Final = ua.StatusCodes
_UNTRUSTED: Final = frozenset(
    {
        _CODES.BadSecurityChecksFailed,
        _CODES.BadCertificateUntrusted,
        _CODES.BadCertificateInvalid,
        _CODES.BadCertificateTimeInvalid,
        _CODES.BadCertificateUriInvalid,
        _CODES.BadCertificateUseNotAllowed,
        _CODES.BadCertificateRevoked,
        _CODES.BadCertificateChainIncomplete,
    }
)
_USER_REFUSED: Final = frozenset(
    {_CODES.BadUserAccessDenied, _CODES.BadIdentityTokenRejected, _CODES.BadIdentityTokenInvalid}
)


class Refused(Exception):
    """There is no secure connection to be had; the message says why, and what to do."""


async def secure(client: Client, url: str, timeout_s: float, mine: Credentials) -> None:
    """Set `client` up for the secure one of the server's endpoints; Refused where none will do."""
    _check_time(mine.certificate, f"the agent's certificate {mine.security.certificate}")
    policy = POLICIES[mine.security.policy]
    endpoints = await Client(url, timeout_s).connect_and_get_server_endpoints()
    endpoint = _endpoint(endpoints, policy.URI, mine.security.policy)
    shown = x509_from_der(endpoint.ServerCertificate)
    _check_server(shown, endpoint.Server.ApplicationUri, mine)
    client.application_uri = application_uris(mine.certificate)[0]
    await client.set_security(
        policy,
        certificate=der(mine.certificate),
        private_key=key_der(mine.key),
        server_certificate=CertProperties(der(shown)),
        mode=ua.MessageSecurityMode.SignAndEncrypt,
    )
    if mine.security.user is not None and mine.password is not None:
        client.set_user(mine.security.user)
        client.set_password(mine.password)


def _endpoint(endpoints: list[ua.EndpointDescription], uri: str, policy: str) -> ua.EndpointDescription:
    for endpoint in endpoints:
        if (
            endpoint.SecurityPolicyUri == uri
            and endpoint.SecurityMode == ua.MessageSecurityMode.SignAndEncrypt
        ):
            return endpoint
    offered = sorted({f"{e.SecurityPolicyUri.rpartition('#')[2]}/{e.SecurityMode.name}" for e in endpoints})
    raise Refused(
        f"the server offers no {policy} with SignAndEncrypt but {', '.join(offered)}; "
        "enable it there or choose another plant.security.policy"
    )


def _check_server(shown: x509.Certificate | None, application_uri: str, mine: Credentials) -> None:
    if shown is None or shown not in mine.trusted:
        which = "no certificate" if shown is None else f"certificate {described(shown)}"
        raise Refused(
            f"the server shows {which}, which is not in plant.security.trusted ({mine.security.trusted}); "
            "compare it with the server's own, and save it there if they are the same"
        )
    _check_time(shown, "the server's certificate")
    if application_uri not in application_uris(shown):
        raise Refused(
            f"the server calls itself {application_uri!r}, its certificate {application_uris(shown)}; "
            "give the server a certificate of its own"
        )


def _check_time(certificate: x509.Certificate, whose: str) -> None:
    begins, ends, now = certificate.not_valid_before_utc, certificate.not_valid_after_utc, utc_now()
    if not begins <= now <= ends:
        raise Refused(
            f"{whose} is valid from {_day(begins)} to {_day(ends)}, and the clock says {_day(now)}; "
            "renew it or set the clock"
        )


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def refusal(error: Exception, security: OpcUaSecurity | None) -> str:
    """For people: why a server and this agent do not trust each other; empty where that is not the reason."""
    if isinstance(error, Refused | ConfigError):
        return str(error)
    if not isinstance(error, ua.UaStatusCodeError):
        return ""
    name = ua.StatusCode(error.code).name
    if error.code in _UNTRUSTED:
        path = None if security is None else security.certificate
        return (
            f"the server refuses the agent's certificate {path} ({name}); put it in the server's trust list"
        )
    if error.code in _USER_REFUSED:
        user = "without a user" if security is None or security.user is None else f"as {security.user!r}"
        return f"the server lets nobody in {user} ({name}); check plant.security.user and password_file"
    return ""
