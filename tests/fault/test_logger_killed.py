"""SIGKILL for a server that logs predictions, wherever it is: in an append, in a commit, between two."""

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from threading import Timer

import pytest

from control_plane.layout import Layout
from tests.support import dying_logger

KILLS = int(os.environ.get("LOGGER_KILLS", "2"))
SEED = int(os.environ.get("LOGGER_KILLS_SEED", "20261128"))
LIFE_S_MAX = 0.3  # a few groups


def killed_after(folder: Path, life_s: float) -> list[str]:
    """One life; the ids of the predictions that it had logged."""
    command = [sys.executable, dying_logger.__file__, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        first = server.stdout.readline()
        Timer(life_s, server.kill).start()
        found = [first, *server.stdout]
    return [line.strip() for line in found if line.endswith("\n")]


@pytest.mark.slow
@pytest.mark.timeout(120 + 30 * KILLS)
def test_killed_at_any_moment_every_logged_prediction_is_on_the_record_once(tmp_path):
    """After every death, what `log_prediction` returned from is in the log exactly once, and it verifies."""
    chance = random.Random(SEED)
    logged: list[str] = []
    for life in range(KILLS):
        life_s = chance.uniform(0.0, LIFE_S_MAX)
        sys.stdout.write(f"seed {SEED}, life {life}: {life_s:.4f} s\n")
        logged += killed_after(tmp_path, life_s)
    with Layout(tmp_path).audit_logger():
        pass
    record = Layout(tmp_path).inference_log()
    found = Counter(record.prediction_ids())
    assert len(logged) >= KILLS
    assert [each for each in logged if found[each] != 1] == []
    assert len(found) - len(logged) <= KILLS  # a death may fall between the append and its report
    assert record.verify().verified
