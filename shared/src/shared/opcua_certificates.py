"""Certificates, keys and passwords of an OPC UA application, read from files and never shown.

Enters: `plant.security`. Leaves: what is in its files, or a ConfigError that lists every one that
cannot be used. No clock and no network: when a certificate is taken is for who connects to say.
"""

import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from shared.errors import ConfigError
from shared.plant_config import OpcUaSecurity

FILE_BYTES_MAX = 1 << 20  # of a certificate, a key or a password
TRUSTED_MAX = 100  # certificates in a folder
CERTIFICATE_SUFFIXES = frozenset({".pem", ".der", ".crt", ".cer"})


@dataclass(frozen=True)
class Credentials:
    """What this side shows, and whom it trusts. Neither key nor password is in its repr."""

    certificate: x509.Certificate
    key: RSAPrivateKey = field(repr=False)
    trusted: tuple[x509.Certificate, ...]
    security: OpcUaSecurity
    password: str | None = field(default=None, repr=False)


def load_credentials(security: OpcUaSecurity) -> Credentials:
    """Read every file; ConfigError lists every one that cannot be used."""
    problems: list[str] = []
    certificates = _read("certificate", security.certificate, problems)
    trusted = _read("trusted", security.trusted, problems)
    key = _key(security.key, problems)
    password = None
    if security.password_file is not None:
        password = (
            _secret("password_file", security.password_file, problems).decode(errors="replace").rstrip("\r\n")
        )
    if key is not None and certificates and certificates[0].public_key() != key.public_key():
        problems.append(f"key: {security.key} is not the key of {security.certificate}")
    if certificates and not application_uris(certificates[0]):
        problems.append(
            f"certificate: {security.certificate} names no application URI (subjectAltName URI); "
            "OPC UA wants one, `edge-agent certificate` makes such"
        )
    if problems or key is None:
        raise ConfigError("plant.security", problems)
    return Credentials(certificates[0], key, tuple(trusted), security, password)


def parse_certificate(content: bytes) -> x509.Certificate:
    """PEM or DER; ValueError when it is neither."""
    if content.lstrip().startswith(b"-----BEGIN"):
        return x509.load_pem_x509_certificate(content)
    return x509.load_der_x509_certificate(content)


def parse_key(content: bytes) -> RSAPrivateKey:
    """PEM or DER, without a password; ValueError or TypeError when it is none."""
    pem = content.lstrip().startswith(b"-----BEGIN")
    load = serialization.load_pem_private_key if pem else serialization.load_der_private_key
    key = load(content, password=None)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("it is no RSA key")
    return key


def _read(option: str, path: Path | None, problems: list[str]) -> list[x509.Certificate]:
    """The certificate of a file, or those of a folder."""
    if path is None:
        return []
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in CERTIFICATE_SUFFIXES)
        if not 0 < len(files) <= TRUSTED_MAX:
            problems.append(f"{option}: {path} holds {len(files)} certificates; expected 1 to {TRUSTED_MAX}")
            return []
    found = []
    for file in files:
        try:
            found.append(parse_certificate(_content(file)))
        except OSError as error:
            problems.append(f"{option}: {file} cannot be read: {error.strerror}")
        except ValueError:
            problems.append(f"{option}: {file} is no certificate in PEM or DER")
    return found


def _key(path: Path | None, problems: list[str]) -> RSAPrivateKey | None:
    if path is None:
        return None
    content = _secret("key", path, problems)
    try:
        return parse_key(content) if content else None
    except (ValueError, TypeError):
        problems.append(f"key: {path} is no RSA key in PEM or DER without a password")
        return None


def _secret(option: str, path: Path, problems: list[str]) -> bytes:
    """The file's bytes; a problem unless only its owner and group may read it."""
    try:
        if path.stat().st_mode & stat.S_IROTH:
            problems.append(f"{option}: {path} can be read by everyone; chmod o= {path}")
        return _content(path)
    except OSError as error:
        problems.append(f"{option}: {path} cannot be read: {error.strerror}")
        return b""


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(FILE_BYTES_MAX)


def application_uris(certificate: x509.Certificate) -> list[str]:
    """Those that its subjectAltName has."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return list(names.get_values_for_type(x509.UniformResourceIdentifier))


def described(certificate: x509.Certificate) -> str:
    """Its subject and its SHA-256 fingerprint, as servers display it."""
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex(":")
    return f"{certificate.subject.rfc4514_string()} (SHA-256 {fingerprint})"


def der(certificate: x509.Certificate) -> bytes:
    """As it goes over the wire."""
    return certificate.public_bytes(serialization.Encoding.DER)


def key_der(key: RSAPrivateKey) -> bytes:
    """For a library that takes bytes."""
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
