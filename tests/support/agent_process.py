"""An agent as systemd would start it: a process, a notify socket, its log; and its plant beside it."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

from shared.listen import free_port

DEADLINE_S = 40.0
NOWHERE = "127.0.0.1:1"
QUICKLY = "import edge_agent.app as app; app.STATUS_PERIOD_S = 0.2"  # a test waits for what it says


def until(condition: Callable[[], object], what: str = "it") -> None:
    """Wait for a condition; fail when it does not come true within DEADLINE_S."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {DEADLINE_S:.0f} s"
        time.sleep(0.05)


class Manager:
    """The service manager's end of the notify socket: what the agent said, line by line."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._lines: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while (text := self._socket.recv(4096)) != b"end":
            self._lines += text.decode().split("\n")

    def lines(self) -> list[str]:
        """Every line so far."""
        return list(self._lines)

    def count(self, line: str) -> int:
        return self._lines.count(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"end", str(self.path))
        self._thread.join()
        self._socket.close()


class Site:
    """A site's file, folders and addresses; plant and agent are started as processes."""

    def __init__(self, folder: Path, period_s: float = 0.1) -> None:
        self.folder, self.period_s = folder, period_s
        self.config, self.data, self.log = folder / "fleet.yaml", folder / "data", folder / "agent.log"
        self.plant_port, self.health = free_port(), f"127.0.0.1:{free_port()}"
        self.trust = folder / "trust"
        self.trust.mkdir()
        self.environment = dict(os.environ)
        self.process: subprocess.Popen[bytes]

    def write(self, components: str, period_s: float | None = None) -> None:
        """The configuration: `components` is the reactor's section as a YAML flow mapping."""
        period = period_s or self.period_s
        plant = f"{{port: {self.plant_port}, poll_period_s: {period}, timeout_s: {period}}}"
        temporary = self.config.with_suffix(".new")
        temporary.write_text(f"TX01:\n  plant: {plant}\n  R1: {components}\n")
        temporary.replace(self.config)

    @contextmanager
    def plant(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """The plant of the configuration as it is now, in a process of its own."""
        code = "import typer; from edge_agent.commands.plant import plant; typer.run(plant)"
        command = ["--config", str(self.config), "--site", "TX01", *options]
        process = subprocess.Popen([sys.executable, "-c", code, *command], stdout=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    @contextmanager
    def agent(self, kafka: str = NOWHERE, before: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """`edge-agent run`, in its own process; `before` is Python that changes a limit first."""
        command = [
            "run", "--config", str(self.config), "--site", "TX01", "--data-dir", str(self.data),
            "--trust-dir", str(self.trust), "--kafka", kafka, "--fleet", NOWHERE,
            "--repository", f"http://{NOWHERE}", "--health", self.health,
        ]  # fmt: skip
        code = f"{before}\n{QUICKLY}\nfrom edge_agent.cli import main; main()"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, *command], env=self.environment, stdout=log, stderr=log
            )
        try:
            yield self.process
        finally:
            self.process.kill()
            self.process.wait()

    def end(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def rows(self, schema: str) -> list[dict[str, Any]]:
        """What the outbox holds of a schema, oldest first."""
        path = self.data / "outbox.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'records'").fetchone():
                return []
            found = db.execute("SELECT body FROM records WHERE schema = ? ORDER BY seq", (schema,))
            return [json.loads(body) for (body,) in found]

    def cycles(self, component: str) -> list[int]:
        """The plant's cycles that were read of a component, in order."""
        rows = self.rows("telemetry/1")
        return [r["cycle"] for r in rows if r["component"] == component and r["metrics"]]

    def events(self, event: str) -> list[dict[str, Any]]:
        return [row for row in self.rows("audit/1") if row["event"] == event]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The agent's log lines of an event."""
        found = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def get(self, path: str) -> tuple[int, str]:
        """An answer of the health server."""
        try:
            with urllib.request.urlopen(f"http://{self.health}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def reasons(self) -> str:
        """Why /healthz says what it says."""
        return "; ".join(json.loads(self.get("/healthz")[1])["reasons"])
