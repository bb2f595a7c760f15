"""Kills an update at every step that reaches the disk, one after the other, and looks what is left.

    python -m tests.support.killed_update FOLDER TRUST REPOSITORY {commit,roll_back} [STRIDE [FIRST]]

FOLDER holds a site that scores with coolant_pump/1, REPOSITORY names coolant_pump/2. A step is a write, a cut
or a flush of SQLite (`FaultyDisk`), a file opened for writing, renamed or removed, or an fsync. The child of
the n-th turn kills itself with SIGKILL at its n-th step; a turn whose child ends by itself is the last.
Prints JSON: how many steps there are, how many turns were taken, and what was wrong after which of them.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import structlog

from edge_agent.update import FOLDER_URL, FolderFetcher, ReleaseClient, State
from tests.support.faulty_disk import FaultyDisk
from tests.support.update_site import SICK, SITE, WELL, TrialSite

KIND = "coolant_pump"
STEPS_MAX = 2_000
_WRITING = os.O_WRONLY | os.O_RDWR


class Site(TrialSite):
    """Reads the repositories from a folder, and believes golden windows: they are not what is tested."""

    def __init__(self, trust: Path, repository: Path, folder: Path) -> None:
        self.trust, self.repository = trust, repository
        super().__init__(_Trusting(trust), "", folder)  # type: ignore[arg-type]
        self.updater._client = ReleaseClient(folder, trust, FOLDER_URL, SITE, FolderFetcher(repository))

    async def install(self, release: Any) -> None:
        self.scoring[KIND] = release.manifest.folder


class _Trusting:
    def __init__(self, trust: Path) -> None:
        self.trust = {SITE: trust}


async def update(site: Site, ending: str) -> None:
    """The whole way of a release: resumed, fetched, tried, committed, watched; or gone back from."""
    await site.updater.resume()
    await site.look()
    await judged(site, ending)


async def judged(site: Site, ending: str) -> None:
    """The trial ends well; so does the watch after it, or not."""
    if site.updater.trials:
        await site.judge(WELL)
    if site.updater.watched:
        await site.judge(WELL if ending == "commit" else (SICK, False))


async def what_is_left(site: Site, ending: str) -> str:
    """What is wrong after the kill; nothing when the site boots, and its next look completes the update."""
    await site.updater.resume()
    if site.scoring.get(KIND) not in ("coolant_pump/1", "coolant_pump/2"):
        return f"boots {site.scoring}"
    wrong = [str(stored.problem) for stored in site.slots.all() if stored.problem]
    if wrong:
        return f"a slot holds what does not verify: {wrong}"
    await site.look()
    await judged(site, ending)
    state, runs = (State.COMMITTED, 2) if ending == "commit" else (State.ROLLED_BACK, 1)
    if (site.says[0], site.scoring[KIND]) != (state, f"coolant_pump/{runs}"):
        return f"ends as {site.says}, scoring with {site.scoring}"
    return ""


class _Killer(FaultyDisk):
    """Ends the process at its n-th step, a write of SQLite having reached the disk by half."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._left = at

    def step(self) -> bool:
        self._left -= 1
        return self._left < 0

    def _fails(self) -> bool:
        return self.step()

    def _write(self, real: Any, file: int, data: int, amount: int, offset: int) -> int:
        if self.step():
            real(file, data, amount // 2, offset)
            die()
        return int(real(file, data, amount, offset))

    def _truncate(self, real: Any, file: int, size: int) -> int:
        return die() if self.step() else int(real(file, size))

    def _sync(self, real: Any, file: int, flags: int) -> int:
        return die() if self.step() else 0

    def look(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook of the interpreter."""
        writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
        if (writing or event in ("os.rename", "os.remove")) and self.step():
            die()


def die() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def child(site: Site, ending: str, at: int) -> None:
    killer = _Killer(at)
    sys.addaudithook(killer.look)
    fsync = os.fsync
    os.fsync = lambda descriptor: die() if killer.step() else fsync(descriptor)  # type: ignore[assignment]
    with killer.mounted():
        asyncio.run(update(site, ending))


def turn(folder: Path, trust: Path, repository: Path, ending: str, at: int) -> tuple[bool, str]:
    """Whether the child was killed, and what was wrong then."""
    here = folder.with_name(f"{folder.name}-{ending}-{at}")
    shutil.copytree(folder, here)
    if (pid := os.fork()) == 0:
        try:
            child(Site(trust, repository, here), ending, at)
        except BaseException as error:  # the parent says it
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    wrong = asyncio.run(what_is_left(Site(trust, repository, here), ending))
    shutil.rmtree(here)
    if status not in (0, -signal.SIGKILL):
        wrong = f"the child ended with {status}; {wrong}"
    return status == -signal.SIGKILL, wrong


def main(folder: str, trust: str, repository: str, ending: str, stride: str = "1", first: str = "0") -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    failures: dict[int, str] = {}
    turns: Counter[bool] = Counter()
    at = int(first)
    while at < STEPS_MAX:
        killed, wrong = turn(Path(folder), Path(trust), Path(repository), ending, at)
        turns[killed] += 1
        if wrong:
            failures[at] = wrong
        if not killed:
            break
        at += int(stride)
    sys.stdout.write(json.dumps({"steps": at, "killed": turns[True], "failures": failures}))


if __name__ == "__main__":
    main(*sys.argv[1:])
