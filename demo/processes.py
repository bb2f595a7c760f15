"""Starts programs, starts them again when they die, ends them all."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from time import monotonic

BIN = Path(sys.executable).parent
END_DEADLINE_S = 60.0  # some seconds; several times that among busy processes
ABORT_DEADLINE_S = 2.0
TAIL_LINES = 12
# util-linux: ends the program when the demo ends, however the demo ends.
DIES_WITH_US = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []


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
    """Every process of the demo, as a service manager would look after them."""

    folder: Path
    environment: dict[str, str]
    parts: dict[str, Part] = field(default_factory=dict)
    running: list[subprocess.Popen[str]] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)  # did not end by SIGTERM within the deadline
    ending: bool = False
    lock: Lock = field(default_factory=Lock)  # of `running` and `ending`: programs are run on several threads

    def start(self, name: str, *command: str) -> None:
        """Start a long-running program of this environment; its output goes to `logs/<name>.log`."""
        log, full = self._log(name), _full(command)
        self.parts[name] = Part(name, full, log, self._spawn(full, log))
        self._write()

    def revive(self) -> list[str]:
        """Start again what has died; says what, and how each ended."""
        news = []
        for part in self.parts.values():
            code = part.process.poll()
            if code is not None:
                news.append(f"{part.name} ended with {code}; started again")
                part.process, part.restarts = self._spawn(part.command, part.log), part.restarts + 1
        if news:
            self._write()
        return news

    def run(self, name: str, *command: str, on_line: Callable[[str], None] = lambda _: None) -> str:
        """Run a program to its end; its output, also in `logs/<name>.log`. RuntimeError when it fails, or
        when everything was ended before it began."""
        log = self._log(name)
        lines = []
        with log.open("a") as copy:
            with self.lock:
                if self.ending:
                    raise RuntimeError(f"{name} was not begun: the demo ends")
                process = subprocess.Popen(
                    _full(command), env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                    stderr=copy, text=True, start_new_session=True,
                )  # fmt: skip
                self.running.append(process)
            for line in process.stdout or ():
                lines.append(line)
                copy.write(line)
                on_line(line.rstrip())
        if process.wait() != 0:
            tail = "".join(log.read_text().splitlines(keepends=True)[-TAIL_LINES:])
            raise RuntimeError(f"{' '.join(command[:3])} ... ended with {process.returncode}; {log}:\n{tail}")
        return "".join(lines)

    def stop(self, *names: str) -> None:
        """SIGTERM to each; what has not ended by the deadline is killed."""
        chosen = [self.parts.pop(name) for name in names if name in self.parts]
        for part in chosen:
            _signal(part.process, signal.SIGTERM)
        deadline = monotonic() + END_DEADLINE_S
        for part in chosen:
            try:
                part.process.wait(max(0.1, deadline - monotonic()))
            except subprocess.TimeoutExpired:
                self.killed.append(part.name)
                self._kill(part.process)
        self._write()

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        """SIGABRT first: a program of ours then leaves in its log where every thread stood."""
        _signal(process, signal.SIGABRT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(ABORT_DEADLINE_S)
        _signal(process, signal.SIGKILL)
        process.wait()

    def stop_all(self) -> None:
        """End whatever still runs; what waits for its turn is not begun."""
        with self.lock:
            self.ending = True
            for process in self.running:
                _signal(process, signal.SIGKILL)
        self.stop(*self.parts)

    def restarts(self) -> dict[str, int]:
        """How often each part that still runs was started again."""
        return {part.name: part.restarts for part in self.parts.values() if part.restarts}

    def _spawn(self, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def _log(self, name: str) -> Path:
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        return log

    def _write(self) -> None:
        """Say which process is which, so that one can be killed by name."""
        table = {part.name: part.process.pid for part in self.parts.values()}
        (self.folder / "processes.json").write_text(json.dumps(table, indent=2))


def _full(command: tuple[str, ...]) -> list[str]:
    return [*DIES_WITH_US, str(BIN / command[0]), *command[1:]]


def _signal(process: subprocess.Popen[str] | subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
