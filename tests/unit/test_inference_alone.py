"""An installation for inference has no library of the lake, the web server, MLflow or training."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCKED = """
import sys
for name in sys.argv[1:]:
    sys.modules[name] = None
import control_plane.commands.serve
from control_plane.app import Centre
"""
IMPORTED_AS = {
    "anyio": None,  # comes with starlette
    "authlib": "authlib",
    "confluent-kafka": "confluent_kafka",
    "influxdb-client": "influxdb_client",
    "python-pkcs11": None,  # securesystemslib looks whether it is there
    "scikit-learn": "sklearn",
    "matplotlib": "matplotlib",
}


def extras() -> list[str]:
    """What the optional parts bring, by the names that it is imported by."""
    project = tomllib.loads((ROOT / "control_plane/pyproject.toml").read_text())["project"]
    always = {re.split(r"[><=\[]", line)[0] for line in project["dependencies"]}
    named = {
        re.split(r"[><=\[]", line)[0]
        for lines in project["optional-dependencies"].values()
        for line in lines
        if not line.startswith("pm-stack-smr")
    }
    found = [IMPORTED_AS.get(name, name) for name in sorted(named - always)]
    return [name for name in found if name is not None]


def test_inference_part_is_loaded_without_the_extras_libraries():
    """Whoever imports one on the way to `serve` breaks the inference image: import it where it is used."""
    blocked = extras()
    assert {"deltalake", "mlflow", "torch", "fastapi", "nicegui"} <= set(blocked)
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *blocked], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-1500:]
