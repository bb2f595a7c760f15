"""A broker behind TLS and a password: a certificate authority of its own, made anew for each run."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared.listen import free_port

USER, PASSWORD = "edge-TX01", "correct horse battery"


def authority(folder: Path) -> Path:
    """ca.pem, and keystore.pem with a key and certificate for 127.0.0.1 that it signed."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = _certificate("test authority", ca_key, ca_key, "test authority", of_authority=True)
    own = _certificate("broker", key, ca_key, "test authority", of_authority=False)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "ca.pem").write_bytes(ca.public_bytes(Encoding.PEM))
    (folder / "keystore.pem").write_bytes(secret + own.public_bytes(Encoding.PEM))
    return folder / "ca.pem"


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    issuer: str,
    *,
    of_authority: bool,
) -> x509.Certificate:
    now = datetime.now(UTC)
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in (name, issuer)]
    made = x509.CertificateBuilder(names[1], names[0], key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(x509.BasicConstraints(of_authority, None), critical=True)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    return made.add_extension(address, critical=False).sign(signer, SHA256())


def listener_settings(folder: Path) -> tuple[str, dict[str, str]]:
    """The address of a SASL_SSL listener beside the plain one, and the broker's settings for it."""
    address = f"127.0.0.1:{free_port()}"
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    return address, {
        "listener.name.sasl_ssl.ssl.keystore.type": "PEM",
        "listener.name.sasl_ssl.ssl.keystore.location": str(folder / "keystore.pem"),
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": f'{login} user_{USER}="{PASSWORD}";',
    }


def client_file(folder: Path, ca: Path, password: str = PASSWORD) -> Path:
    """A client's settings file."""
    path = folder / "client.properties"
    path.write_text(
        "# TLS, and a user with a password\n"
        f"security.protocol=sasl_ssl\nssl.ca.location={ca}\n"
        f"sasl.mechanism=PLAIN\nsasl.username={USER}\nsasl.password={password}\n"
    )
    path.chmod(0o600)
    return path
