"""The alarm list and its notices under kill -9 at any moment."""

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from control_plane.layout import Layout
from tests.support import dying_alerts
from tests.support.notice_ends import hook

ROUNDS = int(os.environ.get("ALERT_ROUNDS", "3"))  # kills; each is a process to start, about a second
EVENTS = 6 * 2 * dying_alerts.ALERTS  # before and after each write, post and mark, of two transitions each
SEED = int(os.environ.get("ALERT_SEED", "20260301"))
DEADLINE_S = 100.0


def lived(folder, url, event, seed):
    command = [sys.executable, dying_alerts.__file__, str(folder), url, str(event), str(seed)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([p for p in sys.path if p])}
    return subprocess.run(command, timeout=DEADLINE_S, env=environment, check=False).returncode


@pytest.mark.slow
@pytest.mark.timeout(60 + 20 * ROUNDS)
def test_a_kill_loses_no_notice_and_repeats_at_most_one(tmp_path):
    """Every alert is told as raised and as cleared; each kill repeats one post at most, under its old id."""
    chance = random.Random(SEED)
    kills = 0
    with hook() as end:
        for _ in range(ROUNDS):
            kills += (
                lived(tmp_path, end.url, chance.randint(1, EVENTS), chance.randrange(100)) == -signal.SIGKILL
            )
        assert lived(tmp_path, end.url, 0, 0) == 0
    assert kills > 0, f"seed {SEED}"
    told = {headers["webhook-id"]: json.loads(body) for headers, body in end.posts}
    found = Counter((each["alert"]["alert_id"], each["notice"]) for each in told.values())
    assert found == Counter(
        {(f"a{n}", kind): 1 for n in range(dying_alerts.ALERTS) for kind in ("raised", "cleared")}
    )
    assert len(end.posts) - len(told) <= kills
    statuses = {view.status.value for view in Layout(Path(tmp_path)).alert_store().views()}
    assert statuses == {"returned_unacknowledged"}
