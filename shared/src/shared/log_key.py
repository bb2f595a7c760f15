"""The key that signs a log's checkpoints: a site's own, or the witness's. It never leaves its machine."""

from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from shared.checkpoint import VerifierKey, verifier_key
from shared.errors import ConfigError
from shared.private_file import create_private


class LogKey:
    """An Ed25519 key in a file that only its owner may read."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self.private = private

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """The key at `path`, made there at the first start; ConfigError when the file is no such key."""
        if not path.exists():
            made = Ed25519PrivateKey.generate()
            create_private(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except (ValueError, TypeError) as error:
            raise ConfigError(str(path), [f"is no private key: {error}; restore it from a backup"]) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError(str(path), ["is not an Ed25519 key"])
        return cls(key)

    def verifier(self, name: str) -> VerifierKey:
        """The public half, under the log's name."""
        return verifier_key(name, self.private.public_key())
