"""The highest metadata versions ever seen: rollback protection that outlives a wiped TUF cache."""

import json
import os
from pathlib import Path

from shared.errors import Untrusted

_ROLES = ("root", "timestamp", "snapshot", "targets")


class VersionFloor:
    """Versions by repository and role, in a small file replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self, repository: str, folder: Path) -> None:
        """Untrusted when the metadata in `folder` is older than what was ever seen; else remember it."""
        found = {role: _version(folder / f"{role}.json") for role in _ROLES}
        known = self._read()
        for role, version in found.items():
            floor = known.get(f"{repository}/{role}", 0)
            if version < floor:
                raise Untrusted(
                    f"{repository} rollback", f"{role} version {version}; this site has seen version {floor}"
                )
        self._write(known | {f"{repository}/{role}": version for role, version in found.items()})

    def _read(self) -> dict[str, int]:
        if not self._path.exists():
            return {}
        known: dict[str, int] = json.loads(self._path.read_text())
        return known

    def _write(self, versions: dict[str, int]) -> None:
        temporary = self._path.with_suffix(".new")
        with temporary.open("w") as file:
            json.dump(versions, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._path)


def _version(path: Path) -> int:
    return int(json.loads(path.read_bytes())["signed"]["version"])
