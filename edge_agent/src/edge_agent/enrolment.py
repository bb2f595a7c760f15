"""How this site becomes known to the centre, and stays so: its key is made here and never leaves.

Enters: a token and the fingerprint of the centre's authority, brought by a person. Leaves: the site's
identity and what it trusts, in its data folder.
"""

import socket
import ssl
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from edge_agent.audit.log import origin
from shared.errors import ConfigError, Rejected, Retryable, Untrusted
from shared.listen import parse_endpoint
from shared.log_key import LogKey
from shared.private_file import write_private
from shared.tls import CERTIFICATE_BYTES_MAX, FINGERPRINT, IdentityFiles, fingerprint, require_issued
from shared.wire import enrolment_pb2, enrolment_pb2_grpc

TIMEOUT_S = 20.0
CHAIN_MAX = 4  # certificates that a server shows; ours shows two
_REFUSALS = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.RESOURCE_EXHAUSTED)


def enrol(site: str, token: str, centre: str, ca_fingerprint: str, data_dir: Path) -> x509.Certificate:
    """Spend the token; leave `identity/` and `trust/` in the data folder.

    Untrusted when who answers at `centre` is not of the authority with this fingerprint: it is then told
    nothing. Rejected with the centre's reason; Retryable when nobody answers.
    """
    authority = authority_of(centre, ca_fingerprint)
    files = IdentityFiles(data_dir / "identity")
    request = enrolment_pb2.EnrollRequest(
        site_id=site,
        token=token,
        certificate_request=signing_request(site, files.load_or_create_key()),
        audit_public_key=str(LogKey.load_or_create(data_dir / "audit.pem").verifier(origin(site))),
    )
    credentials = grpc.ssl_channel_credentials(authority)
    try:
        with grpc.secure_channel(centre, credentials) as channel:
            granted = enrolment_pb2_grpc.EnrolmentStub(channel).Enroll(request, timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        raise refusal(centre, error) from error
    if granted.authority.encode() != authority:
        raise Untrusted("authority", "the centre granted with another authority than it was pinned by")
    certificate = checked(granted.certificate, authority, site, files)
    write_private(data_dir / "trust" / "image_root.json", granted.image_root)
    write_private(data_dir / "trust" / "director_root.json", granted.director_root)
    files.write(granted.certificate.encode(), authority)
    return certificate


def authority_of(centre: str, ca_fingerprint: str) -> bytes:
    """The certificate, in PEM, that has this fingerprint among those that the centre shows.

    Nothing is told to who answers, and nothing of it believed but what the fingerprint vouches for.
    """
    host, port = parse_endpoint(centre, "--centre")
    if not FINGERPRINT.fullmatch(ca_fingerprint):
        raise ConfigError(
            "--ca-fingerprint", [f"found {ca_fingerprint[:80]!r}; expected sha256: and 64 hexadecimal digits"]
        )
    shown = _shown(host, port)
    for der in shown[:CHAIN_MAX]:
        if fingerprint(der) == ca_fingerprint:
            return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
    found = fingerprint(shown[-1]) if shown else "none"
    raise Untrusted("authority", f"{centre} shows another authority than {ca_fingerprint}: {found}")


def signing_request(site: str, key: EllipticCurvePrivateKey) -> str:
    """A certificate request in PEM. The name in it only tells people whose it is."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, site)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def checked(text: str, authority: bytes, site: str, files: IdentityFiles) -> x509.Certificate:
    """The certificate that the centre granted; Untrusted unless it is for this site and its key."""
    if len(text) > CERTIFICATE_BYTES_MAX:
        raise Untrusted("certificate", f"has {len(text)} characters; at most {CERTIFICATE_BYTES_MAX}")
    try:
        certificate = x509.load_pem_x509_certificate(text.encode())
    except ValueError as error:
        raise Untrusted("certificate", f"is none in PEM: {error}") from error
    require_issued(certificate, x509.load_pem_x509_certificate(authority), site)
    if certificate.public_key() != files.load_or_create_key().public_key():
        raise Untrusted("certificate", "is not for this site's key")
    return certificate


def refusal(centre: str, error: grpc.RpcError) -> Rejected | Retryable:
    """What the centre answered, as an error of ours."""
    if error.code() in _REFUSALS:
        return Rejected(f"{centre} refuses: {error.details()}")
    return Retryable(f"{centre} cannot be asked: {error.code().name} {error.details()}")


def _shown(host: str, port: int) -> list[bytes]:
    """What who answers shows, in DER. Not verified: the caller holds it to a fingerprint."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((host, port), TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            if hasattr(secured, "get_unverified_chain"):  # Python 3.13
                return [bytes(der) for der in secured.get_unverified_chain()]
            chain = secured._sslobj.get_unverified_chain()  # type: ignore[attr-defined]  # the same, before
            return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in chain]
    except OSError as error:
        raise Retryable(f"nobody answers at {host}:{port}: {error}") from error
