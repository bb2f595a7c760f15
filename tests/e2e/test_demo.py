"""The demo's claims hold, also when an agent and the centre are killed under it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 45
START_DEADLINE_S = 240
END_DEADLINE_S = 420


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder of its own to run in: the demo writes `.demo` beside the configuration."""
    shutil.copy(ROOT / "reactor_config.yaml", tmp_path)
    return tmp_path


def start_demo(folder: Path, seconds: int) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    recordings = os.environ.get("SKAB_DIR", str(ROOT.parent / "shared/data/skab"))
    return subprocess.Popen(
        [sys.executable, "-m", "demo", "--seconds", str(seconds), "--recordings", recordings],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def lines_until(process: subprocess.Popen[str], words: str) -> Iterator[str]:
    deadline = time.monotonic() + START_DEADLINE_S
    for line in process.stdout or ():
        yield line
        if words in line:
            return
        assert time.monotonic() < deadline, f"{words!r} was not said in time"
    pytest.fail(f"the demo ended before it said {words!r}")


def kill(folder: Path, name: str) -> None:
    table = json.loads((folder / ".demo" / "processes.json").read_text())
    os.kill(table[name], signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(END_DEADLINE_S)
def test_claims_hold_when_an_agent_and_the_centre_are_killed(checkout):
    """kill -9 of an agent and of the centre during the live run: nothing lost, doubled or misattributed."""
    demo = start_demo(checkout, SECONDS)
    said = list(lines_until(demo, "live:"))
    time.sleep(6)
    kill(checkout, "agent-TX01")
    time.sleep(8)
    kill(checkout, "centre")
    rest, _ = demo.communicate(timeout=END_DEADLINE_S)
    text = "".join(said) + rest
    assert demo.returncode == 0, text[-6000:]
    summary = json.loads((checkout / ".demo" / "summary.json").read_text())
    assert summary["restarts"] == {"agent-TX01": 1, "centre": 1}
    assert (summary["lost"], summary["duplicates"], summary["misattributed"]) == (0, 0, 0)
    assert summary["records_in_lake"] == summary["records_committed"] > 500
    assert summary["alerts"]["fault"]["component"] == "TX01/R1/coolant_pump"
    assert summary["alerts"]["fault"]["delay_cycles"] >= 0
    assert all(site["verified"] for site in summary["audit"].values())
    assert summary["replay"]["bit_exact"] is True
    assert summary["model"]["equal"] is True
    left = [p for p in psutil.process_iter(["cmdline"]) if str(checkout) in " ".join(p.info["cmdline"] or [])]
    assert left == []
