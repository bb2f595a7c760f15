"""The centre's private certificate authority: its own server certificate, and one for each site."""

import ipaddress
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.errors import ConfigError, Rejected
from shared.private_file import create_private, write_private
from shared.schemas import utc_now
from shared.tls import (
    CERTIFICATE_BYTES_MAX,
    fingerprint,
    key_pem,
    load_certificate,
    load_key,
    new_key,
    site_name,
)

AUTHORITY_LIFE = timedelta(days=20 * 365)  # longer than a site: another authority means enrolling all again
SERVER_LIFE = timedelta(days=2 * 365)  # made anew at each start of the centre
SITE_LIFE = timedelta(days=90)  # renewed after 60: a centre may be away for a month
CLOCK_SKEW = timedelta(hours=1)  # by which a site's clock may be behind
NAMES_MAX = 20  # of one centre


class ServerFiles(NamedTuple):
    """What the centre's TLS servers load; the chain holds the server's certificate, then the authority's."""

    key: Path
    chain: Path
    authority: Path


class Authority:
    """The authority in `folder`, made there at the first call. Its key is in a file of the centre's user."""

    def __init__(self, folder: Path, site_life: timedelta = SITE_LIFE) -> None:
        self._folder, self._site_life = folder, site_life
        self._key_path, self.path = folder / "ca.key", folder / "ca.crt"

    def begin(self) -> x509.Certificate:
        """The authority's certificate."""
        if not self.path.exists():
            create_private(self._key_path, key_pem(new_key()))
            create_private(self.path, _pem(self._self_signed()))
        return load_certificate(self.path)

    @property
    def fingerprint(self) -> str:
        """What a person carries to a site beside the token."""
        return fingerprint(self.begin())

    def site_certificate(self, site: str, request: x509.CertificateSigningRequest) -> x509.Certificate:
        """A certificate for the site. Of the request its key alone counts; who asks says nothing in it."""
        key = request.public_key()
        assert isinstance(key, EllipticCurvePublicKey)  # noqa: S101 - `parse_request` has looked
        return self._sign(key, site_name(site), ExtendedKeyUsageOID.CLIENT_AUTH, self._site_life, site)

    def server_files(self, names: Iterable[str]) -> ServerFiles:
        """A server certificate for the names that sites dial, made anew."""
        chosen = list(dict.fromkeys(names))
        if not 0 < len(chosen) <= NAMES_MAX:
            raise ConfigError("--centre-name", [f"found {len(chosen)} names; expected 1 to {NAMES_MAX}"])
        files = ServerFiles(self._folder / "server.key", self._folder / "server.crt", self.path)
        self.begin()
        create_private(files.key, key_pem(new_key()))
        alternative = x509.SubjectAlternativeName([_general_name(name) for name in chosen])
        public = load_key(files.key).public_key()
        made = self._sign(public, alternative, ExtendedKeyUsageOID.SERVER_AUTH, SERVER_LIFE, chosen[0])
        write_private(files.chain, _pem(made) + self.path.read_bytes())
        return files

    def _self_signed(self) -> x509.Certificate:
        key, now = load_key(self._key_path), utc_now()
        name = _named("pm-stack-smr")
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip
        return (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )

    def _sign(
        self,
        key: EllipticCurvePublicKey,
        names: x509.SubjectAlternativeName,
        use: x509.ObjectIdentifier,
        life: timedelta,
        common_name: str,
    ) -> x509.Certificate:
        issuer, own, now = self.begin(), load_key(self._key_path), utc_now()
        return (
            x509.CertificateBuilder(issuer.subject, _named(common_name), key, x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + life)
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(own.public_key()), critical=False
            )
            .sign(own, hashes.SHA256())
        )


def parse_request(text: str) -> x509.CertificateSigningRequest:
    """A certificate request in PEM; Rejected unless it is one, for a P-256 key that signed it."""
    if len(text) > CERTIFICATE_BYTES_MAX:
        raise Rejected(f"certificate request: {len(text)} characters; at most {CERTIFICATE_BYTES_MAX}")
    try:
        request = x509.load_pem_x509_csr(text.encode())
        key, signed = request.public_key(), request.is_signature_valid
    except Exception as error:  # cryptography raises a kind for each way that one is malformed
        raise Rejected(f"certificate request: is none in PEM ({type(error).__name__})") from error
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise Rejected("certificate request: its key is not an elliptic curve key on P-256")
    if not signed:
        raise Rejected("certificate request: is not signed with its own key")
    return request


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise ConfigError("--centre-name", [f"found {name!r}; expected a host name or an address"]) from error


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
