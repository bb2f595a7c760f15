"""Key files: encrypted private PEM, public PEM, one pair a person or an online role."""

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

from shared.errors import ConfigError

NAME_FIELD = "x-pm-stack-smr-name"  # travels with the key in signed root metadata: who it belongs to


def generate(folder: Path, name: str, passphrase: str) -> Path:
    """Make `<name>.pem` (encrypted, mode 0600) and `<name>.pub`; ConfigError when either is there."""
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    if private.exists() or public.exists():
        raise ConfigError(str(private), ["is there already; a key is never overwritten"])
    if not passphrase:
        raise ConfigError("passphrase", ["is empty; a private key is never stored in the clear"])
    folder.mkdir(parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.encode()))
    with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private


def load_signer(path: Path, passphrase: str) -> CryptoSigner:
    """The signer of a private key file; ConfigError when it cannot be opened."""
    try:
        key = load_pem_private_key(path.read_bytes(), passphrase.encode() or None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(str(path), [f"cannot be opened: {error}; is the passphrase right?"]) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(str(path), ["is not an Ed25519 key; make one with `control-plane keys generate`"])
    return CryptoSigner(key)


def load_public(path: Path, name: str) -> SSlibKey:
    """The public key of a person, with the name in it."""
    try:
        public = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), [f"is no public key: {error}"]) from error
    if not isinstance(public, Ed25519PublicKey):
        raise ConfigError(str(path), ["is not an Ed25519 key"])
    key = SSlibKey.from_crypto(public)
    key.unrecognized_fields[NAME_FIELD] = name
    return key


def distinct(people: dict[str, SSlibKey]) -> None:
    """ConfigError when two names share key material: one person would count as two."""
    owner: dict[str, str] = {}
    for name, key in people.items():
        other = owner.setdefault(key.keyval["public"], name)
        if other != name:
            raise ConfigError(
                "--approver", [f"{name} and {other} have the same key; each person needs their own"]
            )
