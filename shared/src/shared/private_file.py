"""Files that only their owner may read, durable before they are used."""

import os
from pathlib import Path


def write_private(path: Path, content: bytes) -> None:
    """Put `content` at `path`, whole or not at all: a key lost to a power cut signs nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
