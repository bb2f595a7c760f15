"""Each wheel in an environment of its own, from the package index and the folder of wheels alone."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.debian_machine import CommandFailed
from shared import __version__

UV = Path(sys.executable).parent / "uv"
# What shows that a wheel works without what it did not ask for; the centre's extras are not installed.
CALLS = {
    "shared": (
        "python",
        "-c",
        "import shared.reactor_config, shared.features, shared.onnx_model, shared.wire.rul_pb2",
    ),
    "edge-agent": ("edge-agent", "--help"),
    "control-plane": ("control-plane", "--help"),
}


def wheels_alone(wheels: Path, folder: Path) -> tuple[str, dict[str, float]]:
    """Megabytes that each brings along, in words and figures; CommandFailed where one fails."""
    shutil.rmtree(folder, ignore_errors=True)
    sizes = {name: _megabytes(name, call, wheels, folder) for name, call in CALLS.items()}
    shutil.rmtree(folder)
    line = ", ".join(f"{name} {size} MB with its libraries" for name, size in sizes.items())
    return line, {f"{name.replace('-', '_')}_wheel_mb": size for name, size in sizes.items()}


def _megabytes(name: str, call: tuple[str, ...], wheels: Path, folder: Path) -> int:
    place = folder / name
    python = place / "bin/python"
    _run(str(UV), "venv", "--quiet", "--python", sys.executable, str(place))
    # Not `-c requirements.txt`: whoever installs a wheel gets what the index has today, within its bounds.
    _run(
        str(UV), "pip", "install", "--quiet", "--link-mode", "copy", "--python", str(python),
        "--find-links", str(wheels), f"pm-stack-smr-{name}=={__version__}",
    )  # fmt: skip
    _run(str(place / "bin" / call[0]), *call[1:])
    return sum(file.lstat().st_size for file in place.rglob("*")) // 1_000_000


def _run(*command: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    with tempfile.TemporaryDirectory() as elsewhere:  # a wheel is not to find the sources
        done = subprocess.run(
            command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)}: {(done.stdout + done.stderr)[-2000:]}")
