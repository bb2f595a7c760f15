"""SIGKILL for servers that log predictions, wherever they are: in an append, a cut, a commit, between two."""

import os
import random
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from control_plane.layout import Layout
from tests.support import dying_logger

KILLS = int(os.environ.get("LOGGER_KILLS", "2"))
SEED = int(os.environ.get("LOGGER_KILLS_SEED", "20261128"))
LIFE_S_MAX = 0.3  # a few groups


def killed_after(folder: Path, life_s: float, beside_s: float) -> list[str]:
    """One life, and one of a process that logs beside it; the ids of the predictions that they had logged."""
    with _life(folder) as server:
        found = [server.stdout.readline()]
        with _life(folder, "beside") as beside:
            found.append(beside.stdout.readline())
            for process, seconds in ((server, life_s), (beside, beside_s)):
                Timer(seconds, process.kill).start()
            with ThreadPoolExecutor() as reading:
                lines = reading.map(list, (server.stdout, beside.stdout))
                found += [line for each in lines for line in each]
    return [line.strip() for line in found if line.endswith("\n")]


def _life(folder: Path, *how: str) -> Any:
    command = [sys.executable, dying_logger.__file__, str(folder), *how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.timeout(120 + 30 * KILLS)
def test_killed_at_any_moment_every_logged_prediction_is_on_the_record_once(tmp_path):
    """After every death, what `log_prediction` returned from is in the log exactly once, and it verifies."""
    chance = random.Random(SEED)
    logged: list[str] = []
    for life in range(KILLS):
        lives_s = chance.uniform(0.0, LIFE_S_MAX), chance.uniform(0.0, LIFE_S_MAX)
        sys.stdout.write(f"seed {SEED}, life {life}: {lives_s} s\n")
        logged += killed_after(tmp_path, *lives_s)
    with Layout(tmp_path).audit_logger():
        pass
    record = Layout(tmp_path).inference_log()
    found = Counter(record.prediction_ids())
    assert len(logged) >= 2 * KILLS
    assert [each for each in logged if found[each] != 1] == []
    assert len(found) - len(logged) <= 2 * KILLS  # a death may fall between the append and its report
    assert record.verify().verified
