"""Containers of our images, as they are made to run: read-only, no capability, a user without a name.

Enters: an image's name, folders of the machine. Leaves: a container on the machine's own network, which ends
with the `with`. podman's health timers need systemd, so health checks are run by hand.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shared import __version__

USER_ID = 10001  # of every image; no machine has a name for it
STOP_S = 45  # the agent drains within 30 s
WAIT_S = 300.0  # for what starts among other busy processes: MLflow may take two minutes there
LOOK_S = 0.02
# ulimits of their own: those of a machine that is a container itself may lie above what runc may set.
RESTRICTED = [
    "--runtime", "runc", "--network", "host", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000",
    "--read-only", "--tmpfs", "/tmp",  # noqa: S108 - the container's own
    "--cap-drop", "all", "--security-opt", "no-new-privileges",
]  # fmt: skip


def image(name: str) -> str:
    """The full name of one of ours, of this checkout's version."""
    return f"localhost/pm-stack-smr/{name}:{__version__}"


def podman(*arguments: str, check: bool = True) -> str:
    """Its standard output; RuntimeError with what it said where it fails."""
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(
            f"podman {' '.join(arguments[:2])} ended with {done.returncode}: {done.stderr[-2000:]}"
        )
    return done.stdout


def inspect(name: str) -> dict[str, Any]:
    """What podman says of an image."""
    found: dict[str, Any] = json.loads(podman("image", "inspect", image(name)))[0]
    return found


def once(name: str, *command: str, entrypoint: str = "") -> str:
    """Run a command in an image to its end, and give what it printed."""
    other = ["--entrypoint", entrypoint] if entrypoint else []
    return podman("run", "--rm", *RESTRICTED, *other, image(name), *command)


class Container:
    """One that runs."""

    def __init__(self, identity: str) -> None:
        self.identity = identity

    def state(self) -> dict[str, Any]:
        """podman's word on it: Pid, Running, ExitCode."""
        found: dict[str, Any] = json.loads(podman("inspect", self.identity))[0]["State"]
        return found

    def user_ids(self) -> set[int]:
        """Of its first process, as the kernel sees it."""
        status = Path(f"/proc/{self.state()['Pid']}/status").read_text()
        return {
            int(part) for line in status.splitlines() if line.startswith("Uid:") for part in line.split()[1:]
        }

    def cpu_s(self) -> float:
        """Seconds of processor time of its first process until now."""
        fields = Path(f"/proc/{self.state()['Pid']}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100  # USER_HZ, on every Linux that people run

    def healthy(self) -> bool:
        """Whether the image's own health check passes now."""
        return subprocess.run(
            ["podman", "healthcheck", "run", self.identity], capture_output=True, check=False
        ).returncode == 0  # fmt: skip

    def logs(self) -> str:
        """What it printed."""
        done = subprocess.run(["podman", "logs", self.identity], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def stop(self) -> tuple[int, float]:
        """SIGTERM: its exit code, and the seconds it took."""
        begun = time.monotonic()
        podman("stop", "--time", str(STOP_S), self.identity)
        return int(self.state()["ExitCode"]), time.monotonic() - begun

    def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Return when it holds; RuntimeError, with its log, when it has ended or `WAIT_S` are over."""
        until(what, holds, lambda: self.state()["Running"], self.logs)


def until(what: str, holds: Callable[[], bool], runs: Callable[[], bool], said: Callable[[], str]) -> None:
    """Return when it holds; RuntimeError with what was said when it cannot any more."""
    ends = time.monotonic() + WAIT_S
    while not holds():
        if time.monotonic() > ends or not runs():
            raise RuntimeError(f"{what}: not within {WAIT_S:g} s\n{said()[-3000:]}")
        time.sleep(LOOK_S)


@contextmanager
def running(
    name: str, *command: str, volumes: Mapping[Path, str], environment: Mapping[str, str]
) -> Iterator[Container]:
    """A container of the image, with folders of this machine (those to be written are its user's)."""
    mounts = [part for host, inside in volumes.items() for part in ("--volume", f"{host}:{inside}")]
    settings = [part for key, value in environment.items() for part in ("--env", f"{key}={value}")]
    identity = podman("run", "--detach", *RESTRICTED, *mounts, *settings, image(name), *command).strip()
    try:
        yield Container(identity)
    finally:
        with suppress(RuntimeError):
            podman("rm", "--force", "--time", "0", identity)
