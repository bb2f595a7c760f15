"""No library of ours speaks to its maker."""

import os
import subprocess
import sys

import pytest

ROOMS = {"edge": "edge_agent.scoring", "centre": "control_plane.serving"}


@pytest.mark.parametrize("module", ROOMS.values(), ids=ROOMS)
def test_onnxruntime_keeps_no_id_and_nothing_to_send(tmp_path, module):
    """What it reports lies in a folder of its user until it is sent: there is none once it was imported."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "XDG_"))}
    code = f"import {module}, onnxruntime"
    subprocess.run([sys.executable, "-c", code], env=environment | {"HOME": str(tmp_path)}, check=True)
    assert list(tmp_path.rglob("*onnxruntime*")) == []
