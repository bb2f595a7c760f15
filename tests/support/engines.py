"""A folder like NASA's C-MAPSS, with a few small engines that wear out."""

import hashlib
from pathlib import Path

import numpy as np

from control_plane.training.cmapss_files import COLUMNS, SENSORS
from control_plane.training.cmapss_settings import SubsetSettings

ENGINES = 10
SHORTEST, LONGEST = 60, 90  # cycles
LEFT = 20  # cycles that every test engine has left


def tiny_settings(**training: object) -> SubsetSettings:
    """Settings that train in a second."""
    small = {
        "model_type": "dense",
        "hidden_dim": 8,
        "num_layers": 1,
        "parts": 2,
        "epochs": 2,
        "patience": None,
    }
    return SubsetSettings(
        sensors=SENSORS[:4], regimes=1, window_cycles=40, steps=16, smoothing=0.3,
        training=small | {"stride": 2, "network_groups": ["value", "cycles"]} | training,
    )  # fmt: skip


def lines(seed: int, cut: int = 0) -> list[str]:
    """The lines of a file; each engine without its last `cut` cycles."""
    generator = np.random.default_rng(seed)
    out = []
    for engine in range(1, ENGINES + 1):
        life = int(generator.integers(SHORTEST, LONGEST))
        wear = (np.arange(1, life + 1) / life) ** 3
        values = 100 + 5 * wear[:, np.newaxis] + generator.normal(0, 0.5, (life, COLUMNS - 2))
        for cycle, row in enumerate(values[: life - cut], 1):
            out.append(f"{engine} {cycle} " + " ".join(f"{value:.4f}" for value in row) + "  ")
    return out


def write_folder(folder: Path, seed: int = 0, left: int = LEFT) -> Path:
    """Training, test and RUL file of FD001, and their checksums."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, "train_FD001.txt", "\n".join(lines(seed)) + "\n")
    write(folder, "test_FD001.txt", "\n".join(lines(seed + 1, LEFT)) + "\n")
    write(folder, "RUL_FD001.txt", f"{left}\n" * ENGINES)
    return folder


def write(folder: Path, name: str, text: str | bytes) -> None:
    """A file, and its line in SHA256SUMS anew."""
    data = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(data)
    sums = folder / "SHA256SUMS"
    others = (
        [line for line in sums.read_text().splitlines() if not line.endswith(name)] if sums.exists() else []
    )
    sums.write_text("\n".join([*others, f"{hashlib.sha256(data).hexdigest()}  {name}"]) + "\n")
