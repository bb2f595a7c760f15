"""`make demo-rollback`, as a person starts it."""

import json
import subprocess

import pytest

from tests.support.services import module_command

pytestmark = pytest.mark.slow
DEADLINE_S = 400.0


@pytest.mark.timeout(DEADLINE_S + 20)
def test_a_model_that_drifts_is_stopped_at_the_canary_and_taken_back_with_no_human(tmp_path):
    """Broker, centre, three plants and agents as processes; every claim held, and the time it took."""
    command = [*module_command("demo.rollback"), "--folder", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "broken" not in done.stdout
    [line] = [line for line in done.stdout.splitlines() if line.startswith("{")]
    took = json.loads(line)
    assert 0 < took["stopped_s"] <= took["rolled_back_s"]
