"""Gives each distribution the version `shared.__version__`: they are released together, and fit no other."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

SHARED = "pm-stack-smr-shared"
SOURCE = Path(__file__).parents[1] / "shared/src/shared/__init__.py"


class ReleaseVersion(MetadataHookInterface):
    """Sets `version`, and pins the dependency on `shared` to it."""

    def update(self, metadata: dict[str, Any]) -> None:
        """ValueError where the source has no version."""
        found = re.search(r'^__version__ = "(.+)"$', SOURCE.read_text(), re.MULTILINE)
        if found is None:
            raise ValueError(f'{SOURCE}: has no line such as __version__ = "1.2.3"')
        metadata["version"] = found[1]
        metadata["dependencies"] = [
            f"{SHARED}=={found[1]}" if name == SHARED else name for name in metadata["dependencies"]
        ]
