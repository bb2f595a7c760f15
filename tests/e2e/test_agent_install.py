"""A site installs the agent's wheels and nothing of the centre."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = str(Path(sys.executable).parent / "uv")
FORBIDDEN = {"torch", "mlflow", "mlflow-skinny", "fastapi", "nicegui", "pandas", "pm-stack-smr-control-plane"}
IMPORT_ALL = """
import importlib, json, pkgutil, sys
import edge_agent, shared
names = [m.name for p in (edge_agent, shared) for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(json.dumps({"imported": names, "modules": sorted(m.split(".")[0] for m in sys.modules)}))
"""


def command(*arguments: str | Path, cwd: Path = ROOT) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(
        [str(a) for a in arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_agent_wheels_install_alone_and_hold_nothing_of_the_centre(tmp_path):
    """Built wheels, clean environment: every module imports; no torch, mlflow, fastapi, control plane."""
    for distribution in ("shared", "edge_agent"):
        command(UV, "build", "--wheel", "--quiet", "--out-dir", tmp_path / "wheels", ROOT / distribution)
    python = tmp_path / "site" / "bin" / "python"
    command(UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "site")
    command(
        UV, "pip", "install", "--quiet", "--python", python, "-c", ROOT / "requirements.txt",
        *sorted((tmp_path / "wheels").glob("*.whl")),
    )  # fmt: skip
    installed = json.loads(command(UV, "pip", "list", "--format", "json", "--python", python))
    assert not FORBIDDEN & {package["name"] for package in installed}
    found = json.loads(command(python, "-c", IMPORT_ALL, cwd=tmp_path))
    assert {"edge_agent.app", "edge_agent.cli", "shared.reactor_config"} <= set(found["imported"])
    assert not {"torch", "mlflow", "fastapi", "control_plane"} & set(found["modules"])
    assert "edge-agent" in command(tmp_path / "site" / "bin" / "edge-agent", "--help", cwd=tmp_path)
