"""What the demo makes of the product's configuration, and of what the parts stored."""

import os
from pathlib import Path

import pytest

from demo.processes import Processes
from demo.settings import REPLAY_SITE, Demo, write_config
from demo.summary import outbox_rows
from edge_agent.outbox import OutboxStore
from edge_agent.simulation.replay import Recording
from shared.reactor_config import load_fleet
from shared.schemas import Outgoing

ROOT = Path(__file__).parents[2]


def test_without_recordings_the_rig_replays_a_pump_that_was_simulated(tmp_path):
    """Each tag names its column of what `edge-agent simulate` wrote."""
    demo = Demo(tmp_path, None, None, {})
    assert REPLAY_SITE in write_config(demo, ROOT / "reactor_config.yaml")
    components = load_fleet(demo.config).components(REPLAY_SITE)
    [pump] = components.values()
    (tmp_path / "recordings").mkdir()
    rows = [",".join(pump.tags), ",".join("1" for _ in pump.tags)]
    (tmp_path / "recordings" / "pump.csv").write_text("\n".join(rows))
    recording = Recording(tmp_path / "recordings", components)
    recording.load()
    [[row]] = recording.rows()
    assert set(row.values.values()) == {1.0}


def test_every_row_of_an_outbox_is_counted_also_what_was_acknowledged(tmp_path):
    """Under the store's id and the row's number, as the lake has them."""
    with OutboxStore(tmp_path / "outbox.db") as store:
        store.commit([Outgoing("telemetry/1", "TX01/R1/pump", n, b"%d" % n) for n in range(3)])
        store.acknowledge([1])
        store_id = store.store_id
    rows = [(store_id, n + 1, "telemetry/1", b"%d" % n) for n in range(3)]
    assert list(outbox_rows(tmp_path)) == rows


def test_what_waits_for_its_turn_is_not_begun_once_everything_is_ended(tmp_path):
    """Ctrl-C during two trainings: the third would begin when they are gone, and be waited for."""
    processes, ran = Processes(tmp_path, dict(os.environ)), tmp_path / "ran"
    processes.stop_all()
    with pytest.raises(RuntimeError, match="it was not begun: the demo ends"):
        processes.run("it", "python", "-c", f"open({str(ran)!r}, 'x')")
    assert not ran.exists()
