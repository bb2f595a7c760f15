"""What the demo makes of the product's configuration."""

from pathlib import Path

from demo.settings import REPLAY_SITE, Demo, write_config
from edge_agent.simulation.replay import Recording
from shared.reactor_config import load_fleet

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
