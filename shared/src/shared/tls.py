"""Who is who between sites and centre: names in certificates, fingerprints, a site's identity on its disk.

One private authority at the centre signs both sides, ECDSA P-256. A site's certificate names the site
in its subjectAltName, as the URI `urn:pm-stack-smr:site:<SITE>`; nothing else in it says who it is.
"""

import hashlib
import re
import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from shared.errors import ConfigError, Untrusted
from shared.private_file import create_private, write_private
from shared.schemas.base import require_site_id

CERTIFICATE_BYTES_MAX = 16 * 1024  # of one certificate or request in PEM; ours have about 800
RENEW_AFTER = 2 / 3  # of a certificate's life: the last third is for a centre that is away
SITE_URN = "urn:pm-stack-smr:site:"
FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")


def site_name(site: str) -> x509.SubjectAlternativeName:
    """How a certificate names a site; ValueError for an id that is none."""
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(SITE_URN + require_site_id(site))])


def site_of(certificate: x509.Certificate) -> str:
    """The site that a certificate names; ValueError unless it names exactly one, and nothing else."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise ValueError("the certificate names no site (no subjectAltName)") from None
    [uri] = [*names] if len([*names]) == 1 else [None]
    if not isinstance(uri, x509.UniformResourceIdentifier) or not uri.value.startswith(SITE_URN):
        raise ValueError(f"the certificate names no site; expected the one URI {SITE_URN}<SITE>")
    return require_site_id(uri.value.removeprefix(SITE_URN))


def fingerprint(certificate: x509.Certificate | bytes) -> str:
    """`sha256:` and the digest of the certificate in DER, hexadecimal."""
    der = certificate if isinstance(certificate, bytes) else certificate.public_bytes(Encoding.DER)
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def new_key() -> EllipticCurvePrivateKey:
    """A key for a certificate."""
    return generate_private_key(SECP256R1())


def key_pem(key: EllipticCurvePrivateKey) -> bytes:
    """The key as its file holds it: PKCS #8, not encrypted, so that a service starts without a person."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_key(path: Path) -> EllipticCurvePrivateKey:
    """The key in a file; ConfigError when it cannot be read or is another kind."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(str(path), [f"is no private key: {error}"]) from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise ConfigError(str(path), ["is not an elliptic curve key"])
    return key


def load_certificate(path: Path) -> x509.Certificate:
    """The certificate in a file; ConfigError when it cannot be read or is none."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), [f"is no certificate in PEM: {error}"]) from error


def renewal_due(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether two thirds of the certificate's life are over. `now` is aware."""
    began, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now >= began + (ends - began) * RENEW_AFTER


@dataclass(frozen=True)
class IdentityFiles:
    """A site's identity: its key, which never leaves it, its certificate, and the authority of both sides."""

    folder: Path

    @property
    def key(self) -> Path:
        return self.folder / "site.key"

    @property
    def certificate(self) -> Path:
        return self.folder / "site.crt"

    @property
    def authority(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def complete(self) -> bool:
        """Whether the site is enrolled; the certificate is what enrolment writes last."""
        return self.certificate.exists()

    def load_or_create_key(self) -> EllipticCurvePrivateKey:
        """This site's key, made at the first call. Renewing keeps it, so that the certificate always fits."""
        if not self.key.exists():
            create_private(self.key, key_pem(new_key()))
        return load_key(self.key)

    def write(self, certificate: bytes, authority: bytes) -> None:
        """Durable, the certificate last; both in PEM."""
        write_private(self.authority, authority)
        write_private(self.certificate, certificate)

    def context(self) -> ssl.SSLContext:
        """For HTTPS to the centre; ConfigError when a file is missing or does not fit the others."""
        try:
            context = ssl.create_default_context(cafile=str(self.authority))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                str(self.folder), [f"is no identity: {error}; `edge-agent enroll` makes one"]
            ) from error
        return context


def require_issued(certificate: x509.Certificate, authority: x509.Certificate, site: str) -> None:
    """Untrusted unless `authority` signed this certificate, for this site."""
    try:
        certificate.verify_directly_issued_by(authority)
        named = site_of(certificate)
    except Exception as error:  # cryptography has a kind of its own for each way that a signature is wrong
        raise Untrusted("certificate", f"not one of this authority for {site}: {error}") from error
    if named != site:
        raise Untrusted("certificate", f"is for {named}, not {site}")
