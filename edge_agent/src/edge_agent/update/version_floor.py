"""The highest metadata versions and the latest time ever seen: protection that outlives a wiped TUF cache."""

import json
import os
from datetime import datetime, timedelta
from pathlib import Path

from shared.durable import flush_folder
from shared.errors import Untrusted

CLOCK_BACK_MAX = timedelta(days=1)  # behind the latest look: time zones and repairs are less
CLOCK_NOTED_EVERY = timedelta(hours=1)  # a write to the disk each; far below `CLOCK_BACK_MAX`
_CLOCK = "clock"
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
            floor = int(known.get(f"{repository}/{role}", 0))
            if version < floor:
                raise Untrusted(
                    f"{repository} rollback", f"{role} version {version}; this site has seen version {floor}"
                )
        seen = known | {f"{repository}/{role}": version for role, version in found.items()}
        if seen != known:
            self._write(seen)

    def check_clock(self, now: datetime) -> None:
        """Untrusted when it was later already: a clock that was set back takes expired metadata for good."""
        latest = self._read().get(_CLOCK)
        if latest is not None and now < datetime.fromisoformat(str(latest)) - CLOCK_BACK_MAX:
            at = f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC"
            raise Untrusted("clock", f"{at}, the metadata was last seen at {latest}: set the clock")

    def saw_clock(self, now: datetime) -> None:
        """Metadata was not expired at this time."""
        known = self._read()
        latest = known.get(_CLOCK)
        if latest is None or now > datetime.fromisoformat(str(latest)) + CLOCK_NOTED_EVERY:
            self._write(known | {_CLOCK: now.isoformat(timespec="seconds")})

    def _read(self) -> dict[str, int | str]:
        if not self._path.exists():
            return {}
        try:
            known: dict[str, int | str] = json.loads(self._path.read_text())
        except ValueError as error:
            raise Untrusted(
                "version floor",
                f"{self._path} cannot be read, so what is too old is not known; put it back from a backup, or"
                " remove it once the centre is known to serve its newest metadata",
            ) from error
        return known

    def _write(self, versions: dict[str, int | str]) -> None:
        temporary = self._path.with_suffix(".new")
        with temporary.open("w") as file:
            json.dump(versions, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._path)
        flush_folder(self._path.parent)


def _version(path: Path) -> int:
    return int(json.loads(path.read_bytes())["signed"]["version"])
