"""The systemd unit is one that systemd takes, its sandbox one that the agent bears; one version for all.

What the package does on a machine that has booted: `make package-test`.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from edge_agent.app import CANCEL_AGAIN_S, DRAIN_DEADLINE_S
from edge_agent.poller import STALL_S
from shared import __version__
from shared.errors import EXIT_CONFIG
from tests.support.releases import make_release, write_release

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "packaging/systemd/edge-agent.service"
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


@pytest.fixture
def analyse(tmp_path):
    """`systemd-analyze` on the unit, with programs that exist on this machine."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("NOT CHECKED: no systemd-analyze on this machine (apt-get install systemd)")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/usr/bin/edge-agent", "/bin/true"))

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["systemd-analyze", *command, str(unit)], capture_output=True, text=True, check=False
        )

    return run


def test_systemd_takes_the_unit(analyse):
    """`systemd-analyze verify` finds nothing to say, once the program's path is one that exists."""
    done = analyse("verify")
    assert (done.returncode, done.stderr) == (0, "")


def test_unit_exposes_the_site_to_little(analyse):
    """`systemd-analyze security` gives an exposure of at most 2.5 of 10."""
    done = analyse("security", "--offline=true", "--threshold=25")
    assert done.returncode == 0, done.stdout[-500:]


def test_three_distributions_have_one_version_and_fit_no_other_shared(monkeypatch):
    """The version stands in one place; who installs an agent gets the `shared` that it was built with."""
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    spec = spec_from_file_location("release_version", ROOT / "packaging/release_version.py")
    hook = module_from_spec(spec)
    spec.loader.exec_module(hook)
    for name in ("shared", "edge_agent", "control_plane"):
        project = tomllib.loads((ROOT / name / "pyproject.toml").read_text())["project"]
        assert project["dynamic"] == ["version"]
        hook.ReleaseVersion(str(ROOT / name), {}).update(project)
        pinned = [found for found in project["dependencies"] if found.startswith("pm-stack-smr")]
        assert project["version"] == __version__
        assert pinned == ([] if name == "shared" else [f"pm-stack-smr-shared=={__version__}"])


@pytest.mark.slow
def test_scoring_bears_the_sandbox_that_denies_writable_code(tmp_path):
    """onnxruntime verifies a release's golden windows where no memory may be written and run."""
    folder = write_release(tmp_path, *make_release())
    command = [sys.executable, "-c", DENIED, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this kernel cannot deny it by prctl")
    assert done.returncode == 0, done.stderr
