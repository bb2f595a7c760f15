"""The systemd unit is one that systemd takes, and the sandbox one that the agent bears."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.app import CANCEL_AGAIN_S, DRAIN_DEADLINE_S
from edge_agent.poller import STALL_S
from shared.errors import EXIT_CONFIG
from tests.support.releases import make_release, write_release

UNIT = Path(__file__).parents[2] / "packaging/systemd/edge-agent.service"
# What MemoryDenyWriteExecute does, by prctl (Linux 6.3): no memory both writable and executable.
DENIED = """
import ctypes, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):
    sys.exit(77)
from pathlib import Path
from edge_agent.scoring import Scorer
from shared.schemas import Manifest
folder = Path(sys.argv[1])
manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
Scorer.load(manifest, (folder / "model.onnx").read_bytes())
"""


def setting(name: str) -> str:
    found = re.search(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert found, f"{name} is not set"
    return found[1]


def test_unit_leaves_time_to_drain_and_never_restarts_on_a_wrong_configuration():
    assert float(setting("TimeoutStopSec").removesuffix("s")) > DRAIN_DEADLINE_S + 10 * CANCEL_AGAIN_S
    assert float(setting("WatchdogSec").removesuffix("s")) > STALL_S
    assert setting("RestartPreventExitStatus") == f"2 {EXIT_CONFIG}"
    assert setting("Type") == "notify"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze on this machine")
def test_systemd_takes_the_unit(tmp_path):
    """`systemd-analyze verify` finds nothing to say, once the program's path is one that exists."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/usr/bin/edge-agent", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_scoring_bears_the_sandbox_that_denies_writable_code(tmp_path):
    """onnxruntime verifies a release's golden windows where no memory may be written and run."""
    folder = write_release(tmp_path, *make_release())
    command = [sys.executable, "-c", DENIED, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this kernel cannot deny it by prctl")
    assert done.returncode == 0, done.stderr
