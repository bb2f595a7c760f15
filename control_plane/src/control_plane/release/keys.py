"""Keys of people, online roles and directors: encrypted files, or a PKCS#11 token that keeps them.

One way to name a private key: `FILE.pem`, or an RFC 7512 URI,
`pkcs11:token=LABEL;id=%02?module-path=/usr/lib/softhsm/libsofthsm2.so`.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import CryptoSigner, HSMSigner, Key, Signer, SSlibKey

from shared.errors import ConfigError

NAME_FIELD = "x-pm-stack-smr-name"  # travels with the key in signed root metadata: who it belongs to
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)  # names files; no two letters look alike
TOKEN = "pkcs11:"  # noqa: S105 - how a key on a token is named
MODULE_VARIABLE = "PYKCS11LIB"  # where securesystemslib reads the path of the token's library

Secret = Callable[[str], str]  # asked for the passphrase or PIN of the key that it is given


def generate(folder: Path, name: str, passphrase: str) -> Path:
    """Make `<name>.pem` (encrypted, mode 0600) and `<name>.pub`; ConfigError when either is there."""
    private, public = folder / f"{checked_name(name)}.pem", folder / f"{name}.pub"
    if private.exists() or public.exists():
        raise ConfigError(str(private), ["is there already; a key is never overwritten"])
    if not passphrase:
        raise ConfigError("passphrase", ["is empty; a private key is never stored in the clear"])
    folder.mkdir(parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.encode()))
    with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
        os.fsync(file.fileno())
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private


def open_signer(key: str, secret: Secret) -> Signer:
    """The signer of a key file or of a key on a token; ConfigError when it cannot be opened."""
    if key.startswith(TOKEN):
        return _token_signer(key, secret)
    return load_signer(Path(key), secret(key))


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
    if not isinstance(public, Ed25519PublicKey | EllipticCurvePublicKey):
        raise ConfigError(str(path), ["is neither an Ed25519 nor an ECDSA key"])
    try:
        key = SSlibKey.from_crypto(public)
    except ValueError as error:
        raise ConfigError(str(path), [f"{error}; P-256 and P-384 are taken"]) from error
    key.unrecognized_fields[NAME_FIELD] = checked_name(name)
    return key


def public_pem(key: Key) -> bytes:
    """The public key as PEM, from either form that TUF metadata has it in."""
    text = str(key.keyval["public"])
    if key.keytype == "ed25519":
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return load_pem_public_key(text.encode()).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def same_material(one: Key, other: Key) -> bool:
    """Whether two keys are the same pair, whatever their key ids, schemes and spelling."""
    return public_pem(one) == public_pem(other)


def distinct(people: Mapping[str, Key]) -> None:
    """ConfigError when two names share key material or mean one person: they would count as two.

    TUF counts key ids, and one private key can have several: a threshold of 2 would be met by one person.
    """
    owner: dict[bytes, str] = {}
    spelled: dict[str, str] = {}
    for name, key in people.items():
        if (other := owner.setdefault(public_pem(key), name)) != name:
            raise ConfigError("keys", [f"{name} and {other} have the same key; each person needs their own"])
        if (other := spelled.setdefault(name.casefold(), name)) != name:
            raise ConfigError("keys", [f"{name} and {other} read as one person; each name stands for one"])


def name_of(key: Key) -> str:
    """Whose key it is, as the signed root says."""
    name = str(key.unrecognized_fields.get(NAME_FIELD, key.keyid[:8]))
    return name if NAME.fullmatch(name) else key.keyid[:8]


def checked_name(name: str) -> str:
    """The name; ConfigError when it could be misread or cannot name a file."""
    if not NAME.fullmatch(name):
        raise ConfigError("name", [f"found {name!r}; letters, digits, '_', '-' and '.', at most 64"])
    return name


def _token_signer(uri: str, secret: Secret) -> Signer:
    """A signer by RFC 7512 URI. Its key must be ECDSA on P-256 or P-384: what securesystemslib signs with."""
    label, identity = _token_parts(uri)
    try:
        own, public = HSMSigner.import_(identity, label, lambda _: secret(uri))
        return HSMSigner.from_priv_key_uri(own, public, lambda _: secret(uri))
    except UnsupportedLibraryError as error:
        raise ConfigError(
            uri, [f"{error}: install pm-stack-smr-control-plane with its `pkcs11` extra"]
        ) from error
    except Exception as error:  # the token's library raises classes of its own, one a cause
        raise ConfigError(uri, [f"cannot be opened: {type(error).__name__} {error}"]) from error


def _token_parts(uri: str) -> tuple[str | None, int]:
    """Token label and key id of a `pkcs11:` URI; sets the library that it names."""
    path, _, query = uri.removeprefix(TOKEN).partition("?")
    parts = dict(part.partition("=")[::2] for part in path.split(";") if part)
    module = dict(parse_qsl(query)).get("module-path")
    problems = [f"{name!r} is not understood; token and id are" for name in parts.keys() - {"token", "id"}]
    identity = unquote_to_bytes(parts.get("id", ""))
    if not identity:
        problems.append("names no key: give its id, for example id=%02")
    if not (module or os.environ.get(MODULE_VARIABLE)):
        problems.append("names no library: give ?module-path=FILE.so")
    if problems:
        raise ConfigError(uri, problems)
    if module:
        os.environ[MODULE_VARIABLE] = module
    return (unquote(parts["token"]) if "token" in parts else None), int.from_bytes(identity, "big")
