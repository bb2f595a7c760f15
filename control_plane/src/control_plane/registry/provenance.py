"""What a model was made with: the code's version and the packages beside it."""

import subprocess
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from control_plane import __version__

PACKAGES_MAX = 1000  # lines of the environment's list; ours has about 250
GIT_DEADLINE_S = 5.0  # a repository on a network share that hangs must not stop a training


@cache
def code_version() -> str:
    """The git commit of this source tree, with `+changes` where files differ from it, else the release."""
    source = Path(__file__).parent
    commit = _git(source, "rev-parse", "HEAD")
    if not commit or not _git(source, "ls-files", "--", Path(__file__).name):
        return __version__  # installed, or inside somebody else's repository
    changed = _git(source, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if changed else commit


@cache
def environment() -> tuple[str, ...]:
    """`name==version` of each installed package in order, at most PACKAGES_MAX."""
    found = {f"{each.metadata['Name']}=={each.version}" for each in distributions()}
    return tuple(sorted(found, key=str.lower)[:PACKAGES_MAX])


def _git(folder: Path, *command: str) -> str:
    """Its output; empty where git, the repository or an answer in time is missing."""
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), *command],
            capture_output=True, text=True, timeout=GIT_DEADLINE_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
