"""A clean Debian 12 that has booted: debootstrap's base, systemd as its first process, no network.

The base is made once, in `.bench/`; what a machine writes lies in memory and goes with it. The mirror is
the one that this machine's apt uses. It takes root, debootstrap and systemd-container.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from shared.errors import ConfigError

RELEASE = "bookworm"
# What `edge-agent.deb` asks for comes from the mirror once; the package is then installed without a network.
FETCHED = ("python3", "libstdc++6")
BOOT_S = 60.0
COMMAND_S = 300.0
NEEDED = ("debootstrap", "systemd-nspawn", "nsenter", "chroot")
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb",
    "DEBIAN_FRONTEND": "noninteractive",
}  # fmt: skip


class CommandFailed(Exception):
    """A command in the machine ended with another status than it should; its output is the message."""


def base(folder: Path) -> Path:
    """The root of a minimal Debian with systemd; made where it is not there yet."""
    lacking = [name for name in NEEDED if shutil.which(name) is None]
    if lacking or os.geteuid() != 0:
        problem = f"needs root and {', '.join(NEEDED)}; lacking: {', '.join(lacking) or 'root'}"
        raise ConfigError("package-test", [f"{problem} (apt-get install debootstrap systemd-container)"])
    root = folder / "debian-12"
    if not root.exists():
        print("Making a clean Debian 12: about two minutes", flush=True)
        unfinished = folder / "debian-12.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        include = "--include=systemd,systemd-sysv,dbus"
        _here("debootstrap", "--variant=minbase", include, RELEASE, str(unfinished), _mirror())
        in_it = ("chroot", str(unfinished), "env", "-i", *(f"{k}={v}" for k, v in ENVIRONMENT.items()))
        _here(*in_it, "apt-get", "install", "--yes", "--no-install-recommends", "--download-only", *FETCHED)
        unfinished.rename(root)
    return root


def _mirror() -> str:
    """Where this machine's apt gets Debian from; read when it is needed, so that no file names it."""
    told = _here("apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages")
    for line in told.splitlines():
        codename, _, address = line.partition(" ")
        if codename == RELEASE:
            return address
    raise ConfigError("apt", [f"knows no mirror of {RELEASE}; `apt-get update` with one in its sources"])


def _here(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


class DebianMachine:
    """Boots on entry, is gone on exit. `shown` is a folder of this machine that it sees as /packages."""

    def __init__(self, root: Path, shown: Path, log: Path) -> None:
        self._root, self._shown, self._log = root, shown, log
        self._process: subprocess.Popen[bytes]
        self._first = 0  # its first process, by its number out here

    def __enter__(self) -> Self:
        command = [
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network",
            "--volatile=overlay", "--resolv-conf=off", "--console=pipe", f"--bind-ro={self._shown}:/packages",
            "--system-call-filter=adjtimex clock_adjtime",  # as on a real machine, where asking is allowed
            f"--directory={self._root}", "--boot",
        ]  # fmt: skip
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._await_boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _await_boot(self) -> None:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        deadline = time.monotonic() + BOOT_S
        state = ""
        while state not in ("running", "degraded"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise CommandFailed(f"Debian did not boot: {self._log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)
            started = children.read_text().split()
            if len(started) == 1:
                self._first = int(started[0])
                state = self._try("systemctl", "is-system-running").stdout.strip()

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()  # nspawn asks the first process to power off
            try:
                self._process.wait(BOOT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _try(self, *command: str) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", f"--target={self._first}", "--all", "--root", "--wd"]
        return subprocess.run(
            [*enter, *command], env=ENVIRONMENT, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=COMMAND_S,
        )  # fmt: skip

    def run(self, *command: str, status: int | None = 0) -> str:
        """What a command says, run as root; CommandFailed when it ends otherwise (any status: None)."""
        done = self._try(*command)
        if status is not None and done.returncode != status:
            said = (done.stdout + done.stderr)[-3000:]
            raise CommandFailed(f"{' '.join(command)}: status {done.returncode}, not {status}: {said}")
        return done.stdout + done.stderr

    def json(self, *command: str) -> Any:
        """The same for a command that prints JSON."""
        return json.loads(self.run(*command))

    def exists(self, path: str) -> bool:
        return self._try("test", "-e", path).returncode == 0

    def write(self, path: str, text: str) -> None:
        """A file of the machine."""
        self.run("sh", "-c", 'printf %s "$2" > "$1"', "sh", path, text)

    def unit(self, name: str, *properties: str) -> dict[str, str]:
        """What systemd knows of a unit."""
        told = self.run("systemctl", "show", name, f"--property={','.join(properties)}")
        return dict(line.split("=", 1) for line in told.splitlines())

    def until(self, what: str, *command: str, within_s: float = 60.0, holds: Sequence[str] = ()) -> None:
        """Repeat a command until it succeeds and says all of `holds`."""
        deadline = time.monotonic() + within_s
        while True:
            done = self._try(*command)
            if done.returncode == 0 and all(part in done.stdout for part in holds):
                return
            if time.monotonic() > deadline:
                raise CommandFailed(f"{what} did not come within {within_s:.0f} s: {done.stdout[-1500:]}")
            time.sleep(0.3)
