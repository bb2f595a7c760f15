"""Bearer tokens of who asks for predictions: made once, shown once, kept as digests.

A token is 256 random bits, so that its plain SHA-256 gives nothing away.
"""

import hashlib
import hmac
import re
import secrets
import stat
import time
from pathlib import Path

import structlog

from shared.errors import ConfigError, Rejected
from shared.private_file import write_private

TOKENS_MAX = 1000  # of one file
TOKEN_BYTES = 32
LOOK_PERIOD_S = 1.0  # how long a token may still be good after it was taken back
_LINE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]{0,63}) sha256:(?P<digest>[0-9a-f]{64})")

log = structlog.get_logger()


def new_token() -> str:
    """A token as every token of the centre is."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def digest(token: str) -> str:
    """What is kept of it: its SHA-256 in hexadecimal digits."""
    return hashlib.sha256(token.encode()).hexdigest()


class TokenFile:
    """`NAME sha256:HEX`, one a line, in a file that its owner alone may write. Who reads it has no token."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._digests: tuple[bytes, ...] = ()
        self._look_at = 0.0

    def read(self) -> dict[str, bytes]:
        """SHA-256 by name; ConfigError when others may write to the file, or it holds something else."""
        try:
            mode = self.path.stat().st_mode
            lines = self.path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(str(self.path), [f"cannot be read: {error}"]) from error
        problems = ["others may write to it; chmod 600"] if stat.S_IMODE(mode) & 0o022 else []
        if len(lines) > TOKENS_MAX:
            problems.append(f"has {len(lines)} lines; at most {TOKENS_MAX}")
        found = [_LINE.fullmatch(line) for line in lines]
        problems += [f"line {n}: expected NAME sha256:HEX" for n, line in enumerate(found, 1) if not line]
        if problems:
            raise ConfigError(str(self.path), problems[:10])
        return {line["name"]: bytes.fromhex(line["digest"]) for line in found if line}

    def holds(self, token: str) -> bool:
        """Whether it is one of the tokens. A file that is broken now holds none."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_PERIOD_S
            try:
                self._digests = tuple(self.read().values())
            except ConfigError as error:
                log.error("no token is good until the file is repaired", reason=str(error))
                self._digests = ()
        shown = hashlib.sha256(token.encode()).digest()
        same = [hmac.compare_digest(shown, digest) for digest in self._digests]  # all, in equal time
        return any(same)

    def add(self, name: str) -> str:
        """A new token for `name`, instead of the one before; only its digest is kept."""
        token = new_token()
        self._write(self._now() | {name: bytes.fromhex(digest(token))})
        return token

    def remove(self, name: str) -> None:
        """Take a token back; Rejected when there is none."""
        known = self._now()
        if name not in known:
            raise Rejected(f"no token for {name!r}; there are: {', '.join(sorted(known)) or 'none'}")
        del known[name]
        self._write(known)

    def _now(self) -> dict[str, bytes]:
        return self.read() if self.path.exists() else {}

    def _write(self, digests: dict[str, bytes]) -> None:
        lines = [f"{name} sha256:{digest.hex()}" for name, digest in sorted(digests.items())]
        problems = [f"found {line[:80]!r}; expected a name" for line in lines if not _LINE.fullmatch(line)]
        if problems:
            raise ConfigError("NAME", problems)
        write_private(self.path, "".join(f"{line}\n" for line in lines).encode())
