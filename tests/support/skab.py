"""Recordings in SKAB's format, small and made from a seed."""

from pathlib import Path

import numpy as np

COLUMNS = (
    "Accelerometer1RMS",
    "Accelerometer2RMS",
    "Current",
    "Pressure",
    "Temperature",
    "Thermocouple",
    "Voltage",
    "Volume Flow RateRMS",
)
MEAN = np.array([0.027, 0.04, 1.0, 0.06, 70.0, 25.0, 230.0, 32.0])
STD = np.array([0.0003, 0.0007, 0.28, 0.26, 0.3, 0.02, 11.0, 0.4])
ROWS, FROM, TO = 700, 500, 600


def table(seed: int = 0, fault: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    """`(values, labels)`: noise, then from row 500 to 600 flow and vibration off by `fault` deviations."""
    noise = np.random.default_rng(seed).normal(size=(ROWS, len(COLUMNS)))
    labels = np.zeros(ROWS, int)
    labels[FROM:TO] = 1
    noise[FROM:TO, [0, 7]] += [fault, -fault]
    return MEAN + noise * STD, labels


def text(values: np.ndarray, labels: np.ndarray) -> str:
    """The file's text."""
    head = ";".join(["datetime", *COLUMNS, "anomaly", "changepoint"])
    rows = [
        ";".join(
            [f"2020-03-09 10:{i // 60:02}:{i % 60:02}", *map(repr, map(float, row)), f"{label:.1f}", "0.0"]
        )
        for i, (row, label) in enumerate(zip(values, labels, strict=True))
    ]
    return "\n".join([head, *rows]) + "\n"


def write(file: Path, seed: int = 0) -> Path:
    """One recording."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text(*table(seed)))
    return file
