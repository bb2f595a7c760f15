"""Files that only their owner may read, durable before they are used."""

import os
from contextlib import suppress
from pathlib import Path

from shared.durable import flush_folder


def write_private(path: Path, content: bytes) -> None:
    """Put `content` at `path`, whole or not at all; what was there is replaced."""
    _written(path, content).rename(path)
    flush_folder(path.parent)


def create_private(path: Path, content: bytes) -> None:
    """Put `content` at `path` unless something is there: of two processes that start together, the first
    one's key stands."""
    temporary = _written(path, content)
    with suppress(FileExistsError):
        os.link(temporary, path)
    temporary.unlink()
    flush_folder(path.parent)


def _written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return temporary
