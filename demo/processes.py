"""Starts programs, starts them again when they die, ends them all."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

BIN = Path(sys.executable).parent
END_DEADLINE_S = 20.0
PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass
class Part:
    """One long-running process and how often it had to be started again."""

    name: str
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes]
    restarts: int = 0


@dataclass
class Processes:
    """Every long-running process of the demo, as a service manager would look after them."""

    folder: Path
    parts: dict[str, Part] = field(default_factory=dict)

    def start(self, name: str, *command: str) -> None:
        """Start `command` (a program of this environment); its output goes to `logs/<name>.log`."""
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        full = [str(BIN / command[0]), *command[1:]]
        self.parts[name] = Part(name, full, log, _spawn(full, log))
        self._write()

    def revive(self) -> list[str]:
        """Start again what has died; the names, with how each ended."""
        news = []
        for part in self.parts.values():
            code = part.process.poll()
            if code is not None:
                news.append(f"{part.name} ended with {code}; started again")
                part.process, part.restarts = _spawn(part.command, part.log), part.restarts + 1
        if news:
            self._write()
        return news

    def stop(self, *names: str) -> dict[str, int]:
        """SIGTERM to each, SIGKILL after the deadline; the exit codes."""
        chosen = [self.parts.pop(name) for name in names if name in self.parts]
        for part in chosen:
            _signal(part, signal.SIGTERM)
        deadline = time.monotonic() + END_DEADLINE_S
        codes = {part.name: _wait(part, deadline) for part in chosen}
        self._write()
        return codes

    def restarts(self) -> dict[str, int]:
        """How often each part that still runs was started again."""
        return {part.name: part.restarts for part in self.parts.values() if part.restarts}

    def _write(self) -> None:
        """Say which process is which, so that one can be killed by name."""
        table = {part.name: part.process.pid for part in self.parts.values()}
        (self.folder / "processes.json").write_text(json.dumps(table, indent=2))


def run(folder: Path, name: str, *command: str, on_line: Callable[[str], None] = lambda _: None) -> str:
    """Run a program to its end; its output, also in `logs/<name>.log`. RuntimeError when it fails."""
    log = folder / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    with log.open("a") as copy:
        process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            stdout=subprocess.PIPE,
            stderr=copy,
            text=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one thread here
        )
        for line in process.stdout or ():
            lines.append(line)
            copy.write(line)
            on_line(line.rstrip())
    if process.wait() != 0:
        tail = "".join(log.read_text().splitlines(keepends=True)[-12:])
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}; {log}:\n{tail}")
    return "".join(lines)


def _spawn(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one thread here
        )


def _die_with_parent() -> None:
    """Linux: end this process when the demo ends, however it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _signal(part: Part, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(part.process.pid, number)


def _wait(part: Part, deadline: float) -> int:
    try:
        return part.process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        _signal(part, signal.SIGKILL)
        return part.process.wait()
