"""What a power loss must not undo."""

import os
from pathlib import Path


def flush_folder(folder: Path) -> None:
    """Make the names in `folder` durable: a renamed file has its new name after a power loss too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
