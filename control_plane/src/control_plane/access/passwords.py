"""Passwords: argon2id hashes, what a password must be like, and one-time passwords."""

import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from shared.errors import Rejected

CHARS_MIN = 12  # length is what counts (NIST SP 800-63B); no rule of digits and signs
CHARS_MAX = 200  # more is no password but work for the hasher
ONE_TIME_CHARS = 20  # of 31 letters and digits: 99 bits
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that is read as another

_hasher = PasswordHasher()  # argon2id as in RFC 9106, for little memory: 64 MiB, 3 passes
_NOBODYS = _hasher.hash(secrets.token_hex())


def hashed(password: str) -> str:
    """What is kept of it. Blocking, some 50 ms and 64 MiB."""
    return _hasher.hash(password)


def matches(password: str, kept: str | None) -> bool:
    """Whether it is the one. As slow where there is none (`kept` is None), so that time tells no names."""
    if len(password) > CHARS_MAX:
        return False
    try:
        return _hasher.verify(kept or _NOBODYS, password) and kept is not None
    except (VerificationError, InvalidHashError):
        return False


def require_good(password: str, name: str) -> None:
    """Rejected with what would be right unless it may become the password of the account `name`."""
    if not CHARS_MIN <= len(password) <= CHARS_MAX:
        raise Rejected(f"a password has {CHARS_MIN} to {CHARS_MAX} characters; this one has {len(password)}")
    if name.lower() in password.lower() or len(set(password)) < CHARS_MIN // 2:
        raise Rejected("this password is easily guessed: take several words that say nothing of the account")


def one_time() -> str:
    """A password that a person types once."""
    chars = "".join(secrets.choice(_LETTERS) for _ in range(ONE_TIME_CHARS))
    return "-".join(chars[start : start + 5] for start in range(0, ONE_TIME_CHARS, 5))
