"""The golden file: recorded readings of a pump, a small trained model, and what both sides must get.

`python -m tests.support.golden` makes `tests/golden/coolant_pump/` anew: only after a deliberate change of
the feature code, which then has a new version, or of what a release says. Readings that are there stay.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from shared.features import window_features
from shared.reactor_config import Component, parse_fleet
from shared.schemas import ComponentId, Manifest, Quality, Telemetry, Window
from shared.schemas.window import values_from_blob

FOLDER = Path(__file__).parents[1] / "golden" / "coolant_pump"
PUMP = ComponentId("TX01", "R1", "coolant_pump")
CYCLES = 60
HORIZON = 400.0  # cycles: most of a pump's life, so that a sound one has a number too
MISSED = {20, 21}  # cycles that no poll saw
SAID = (
    "rul_state",
    "rul_low",
    "rul",
    "rul_high",
    "withheld_because",
    "is_anomaly",
    "is_ood",
    "contributions",
)
BAD = {15: "vibration_rms", 16: "vibration_rms", 30: "flow_rate", 45: "bearing_temperature"}


def component() -> Component:
    return parse_fleet({"TX01": {"R1": {"coolant_pump": {"lambda": 0.01}}}}, "golden").components()[PUMP]


def readings() -> list[Telemetry]:
    """The recorded polls, in order."""
    lines = (FOLDER / "readings.jsonl").read_text().splitlines()
    return [Telemetry.model_validate_json(line) for line in lines]


def release() -> tuple[Manifest, bytes]:
    return (
        Manifest.model_validate_json((FOLDER / "manifest.json").read_bytes()),
        (FOLDER / "model.onnx").read_bytes(),
    )


def torchscript() -> bytes:
    """The same graph as torch runs it."""
    return (FOLDER / "model.pt").read_bytes()


def expected() -> dict[int, dict]:
    """By cycle: the features' SHA-256, every output of the model, and what is said of them (`SAID`)."""
    rows = json.loads((FOLDER / "expected.json").read_text())
    return {row["cycle"]: row for row in rows}


def features_sha256(features: np.ndarray) -> str:
    """Over little-endian float32, row by row: equal means the same bits."""
    return hashlib.sha256(np.ascontiguousarray(features, "<f4").tobytes()).hexdigest()


def windows_at_the_edge(manifest: Manifest) -> Iterator[Window]:
    """What the agent's window room gives for the recorded polls."""
    from edge_agent.window import WindowBuffer

    buffer = WindowBuffer(PUMP, "coolant_pump", manifest.feature_spec)
    for reading in readings():
        window = buffer.push(reading)
        if window is not None:
            yield window


def _record() -> None:
    from edge_agent.simulation import ReactorSimulator

    simulator = ReactorSimulator(component(), **PUMP._asdict(), random_seed=42)
    lines = []
    for cycle in range(CYCLES):
        row = simulator.simulate_cycle()
        quality = {BAD[cycle]: Quality.TIMEOUT} if cycle in BAD else {}
        metrics = {
            tag: float(np.float32(row[tag])) for tag in simulator.config.tags if tag not in quality
        }  # a float32 register carries no more
        if cycle not in MISSED:
            found = Telemetry(
                timestamp=row["timestamp"], **PUMP._asdict(), cycle=cycle, metrics=metrics, quality=quality
            )
            lines.append(found.outgoing().body.decode())
    (FOLDER / "readings.jsonl").write_text("\n".join(lines) + "\n")


def _train() -> None:
    from control_plane.training.fit import TrainingConfig
    from control_plane.training.workflow import train
    from edge_agent.simulation.batch import Batch, write

    small = TrainingConfig(hidden_dim=8, num_layers=1, epochs=20, horizon_cycles=HORIZON)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "pumps.parquet"
        batch = Batch(PUMP, component(), 600, 7, 30, 0.3, stop_at_failure=True)
        write(batch.histories(), data)
        trained = train(
            "coolant_pump", component().tags, data, small, None, Path(folder) / "curves.png", print
        )
    (FOLDER / "model.onnx").write_bytes(trained.model)
    (FOLDER / "model.pt").write_bytes(trained.torchscript)
    (FOLDER / "manifest.json").write_text(trained.manifest.model_dump_json(indent=1) + "\n")


def _expect() -> None:
    from edge_agent.scoring import Scorer

    manifest, model = release()
    scorer = Scorer.load(manifest, model)
    rows = []
    for window in windows_at_the_edge(manifest):
        values = values_from_blob(window.blob(), len(window.tags))
        digest = features_sha256(window_features(values, manifest.feature_spec))
        record = scorer.score(window).model_dump(mode="json")
        rows.append(
            {"cycle": window.cycle, "features_sha256": digest, **{n: record[n] for n in ("raw", *SAID)}}
        )
    (FOLDER / "expected.json").write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not (FOLDER / "readings.jsonl").exists():
        _record()
    _train()
    _expect()
