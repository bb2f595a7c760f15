"""One site under test: the oracle plant, the agent, and what was done to them when."""

import os
import random
import resource
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.edge_site import BIN, AgentProcess
from shared.reactor_config import load_fleet
from tests.support.services import wait_for_port

# Python's wall clock as far off as a file says. (No test may set the machine's; libfaketime breaks sleeping.)
CLOCK_SEAM = """
import pathlib, time
_true, _offset = time.time, pathlib.Path({path!r})
time.time = lambda: _true() + float(_offset.read_text())
"""
FULL_DISK_BYTES = 4_096  # no file may grow beyond this: what is written fails as on a full disk
DAMAGE_BYTES = 4_096
SMALL_OUTBOX_ROWS = 1_000


@dataclass
class FaultSite:
    """A site, its row of the table, and its own chance, so that one seed replays it."""

    site_id: str
    row: str
    folder: Path
    config: Path
    chance: random.Random
    down: list[tuple[float, float]] = field(default_factory=list)  # wall clock, while no agent ran
    plant: subprocess.Popen[bytes] | None = None
    agent: AgentProcess = field(init=False)

    @property
    def ledger(self) -> Path:
        """What the plant showed, written before it was shown."""
        return self.folder / "ledger.jsonl"

    @property
    def outbox(self) -> Path:
        """The agent's file."""
        return self.folder / "data" / "outbox.db"

    def prepare(self, kafka: str, repository: str, trust: Path, fleet: str = "127.0.0.1:1") -> None:
        """What the agent will be started with."""
        arguments = ["--config", str(self.config), "--site", self.site_id, "--kafka", kafka]
        arguments += ["--data-dir", str(self.folder / "data"), "--trust-dir", str(trust)]
        arguments += ["--repository", repository, "--fleet", fleet]
        if self.row == "outbox bound reached":
            arguments += ["--outbox-rows-max", str(SMALL_OUTBOX_ROWS)]
        environment = {}
        if self.row == "clock set":
            self.set_clock(0)
            seam = self.folder / "seam"
            seam.mkdir()
            (seam / "sitecustomize.py").write_text(CLOCK_SEAM.format(path=str(self.folder / "clock")))
            environment = {"PYTHONPATH": os.pathsep.join([str(seam), os.environ.get("PYTHONPATH", "")])}
        self.agent = AgentProcess(self.folder, arguments, environment)

    def start(self) -> None:
        """Plant and agent; both work when this returns."""
        self._start_plant()
        self.agent.start()
        self.agent.until("edge_predictions_total", 1)

    def _start_plant(self) -> None:
        """`edge-agent plant` with a ledger; it listens when this returns."""
        command = [str(BIN / "edge-agent"), "plant", "--config", str(self.config), "--site", self.site_id]
        command += ["--ledger", str(self.ledger)]
        if self.row == "PLC silent, reset, late":
            command += ["--bad-days", str(self.chance.randrange(2**31))]
        with (self.folder / "plant.log").open("ab") as log:
            self.plant = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for_port(load_fleet(self.config).sites[self.site_id].plant.port, self.plant)

    def kill_agent(self, while_down: Callable[[], None] = lambda: None) -> None:
        """kill -9, and a new start on what is left."""
        began_s = time.time()
        self.agent.kill()
        while_down()
        self.agent.start()
        self.agent.until("edge_polls_total", 2)
        self.down.append((began_s, time.time()))

    def fill_disk(self) -> None:
        """From now on no file of the agent grows (EFBIG, as SQLite sees ENOSPC: the write fails)."""
        self._limit(FULL_DISK_BYTES)

    def free_disk(self) -> None:
        """There is room again."""
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        resource.prlimit(self.agent.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def damage_outbox(self) -> None:
        """Random bytes over a random place of the file or of its write-ahead log."""
        files = [self.outbox, self.outbox.with_name("outbox.db-wal")]
        path = self.chance.choice([file for file in files if file.exists() and file.stat().st_size])
        with path.open("r+b") as file:
            file.seek(self.chance.randrange(path.stat().st_size))
            file.write(self.chance.randbytes(DAMAGE_BYTES))

    def set_clock(self, offset_s: int) -> None:
        """The agent's wall clock from now on, against the true one; its monotonic clock goes on."""
        new = self.folder / "clock.new"
        new.write_text(f"{offset_s:+d}\n")
        os.replace(new, self.folder / "clock")

    def end(self) -> None:
        """SIGTERM to the agent (it drains), then the plant's end."""
        self.agent.stop()
        self.end_plant()

    def end_plant(self) -> None:
        """The oracle stops."""
        if self.plant is not None:
            with suppress(ProcessLookupError):
                self.plant.kill()
            self.plant.wait()
