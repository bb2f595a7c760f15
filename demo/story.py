"""The steps before the live run: data, models, approvals, and every part started."""

from collections.abc import Callable, Iterable
from pathlib import Path

from demo.processes import run
from demo.settings import Demo

APPROVERS = ("alice", "bob", "carol")
TRAINING_RUNS = 32
EPOCHS = 10
ROWS_PER_RECORDING = 400  # the usual SKAB split: the first 400 rows of a file train
DEMO_PASSPHRASE = "demo-only"  # noqa: S105 - the keys live in .demo and approve nothing else

Say = Callable[[str], None]


def make_training_data(demo: Demo, types: Iterable[str]) -> None:
    """Run-to-failure histories of each simulated component type, from the plant's own simulator."""
    for kind in types:
        run(
            demo.root, f"simulate-{kind}",
            "edge-agent", "simulate", "--config", str(demo.config), "--site-id", "ID01", "--reactor-id", "R1",
            "--component", kind, "--runs", str(TRAINING_RUNS), "--decay-spread", "0.5", "--stop-at-failure",
            "--cycles", "1500", "--seed", "1000", "--output-path", str(demo.root / "training" / f"{kind}.parquet"),
        )  # fmt: skip


def train(demo: Demo, kind: str, data: Path, *extra: str, on_line: Say) -> None:
    """Train, evaluate, export and register one model."""
    run(
        demo.root, f"train-{kind}",
        "control-plane", "train", "--component-type", kind, "--data", str(data), "--epochs", str(EPOCHS),
        "--output", str(release_dir(demo, kind)), "--tracking-uri", demo.tracking_uri, *extra,
        on_line=on_line,
    )  # fmt: skip


def release_dir(demo: Demo, kind: str) -> Path:
    """Where training leaves `model.onnx` and `manifest.json`."""
    return demo.root / "releases" / kind
