"""How SKAB's setting was chosen, without a label: `python -m bench.skab_setting DIR`.

False alarms come from recordings that are normal throughout: the anomaly-free one, cut into pieces as long as
the benchmark's files, and the files' first 400 rows, of which 200 train and 200 are judged. Missed alarms
come from shifts of known size put into the former: 1 to 3 tags, 1 to 30 standard deviations, growing for a
minute, back within ten seconds. No row after the 400th of a labelled file is used, nor any label.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from control_plane.training.skab import LevelJudge, Settings, load_settings
from control_plane.training.skab_files import SENSORS, load_recordings

FILE_ROWS = 1147  # of a labelled file, about
STEP_ROWS = 300  # from one piece of the anomaly-free recording to the next
SIZES = (1, 2, 3, 5, 8, 15, 30)  # of a shift, in standard deviations of the piece's training rows
ONSET_ROWS, BACK_ROWS = 60, 10
HALF = 200  # of a file's first 400 rows train, the others are judged
MARGINS = np.geomspace(0.5, 3.0, 60)  # tried for each variant, to find its best
ANOMALOUS_SHARE = 0.536  # of SKAB's judged points, by the F1 of 0.698 published for an alarm at every point

Floats = NDArray[np.float64]
VARIANTS: dict[str, dict[str, Any]] = {
    "as committed": {},
    "no clipping": {"clip_std": 1e9},
    "clip at 3": {"clip_std": 3.0},
    "clip at 6": {"clip_std": 6.0},
    "EWMA 0.05": {"ewma_weight": 0.05},
    "EWMA 0.2": {"ewma_weight": 0.2},
    "no room to drift": {"drift_rows": 0.0},
    "drift 125 rows": {"drift_rows": 125.0},
    "drift 500 rows": {"drift_rows": 500.0},
    "no shrinkage": {"shrinkage": 0.0},
    "full shrinkage": {"shrinkage": 1.0},
    "budget 1 in 1,000": {"false_alarm_budget": 1.0},
    "EWMA 0.2 and Mahalanobis alone": {
        "clip_std": 1e9, "ewma_weight": 0.2, "drift_rows": 0.0, "shrinkage": 0.0, "false_alarm_budget": 1.0,
    },
}  # fmt: skip


def main() -> None:
    """A line a variant, then one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.skab_setting", description=__doc__)
    parser.add_argument("folder", type=Path, help="SKAB's data folder: anomaly-free, valve1, ...")
    folder = parser.parse_args().folder
    recording = folder / "anomaly-free" / "anomaly-free.csv"
    if not recording.is_file():
        parser.error(f"{recording} is missing; give SKAB's whole data folder")
    settings = load_settings()
    free = pd.read_csv(recording, sep=";")[list(SENSORS)].to_numpy(float)
    heads = [recording.training for recording in load_recordings(folder, settings.train_rows)]
    pieces = [free[at : at + FILE_ROWS] for at in range(0, len(free) - FILE_ROWS, STEP_ROWS)]
    found = {name: measure(replace(settings, **changed), pieces, heads) for name, changed in VARIANTS.items()}
    print("at the best margin, percent: false alarms (pieces, heads), missed, sum; F1 as far as shifts tell")
    for name, line in found.items():
        print(
            f"{name:32} x{line['margin']:.2f}: {line['far_pieces']:4.1f} {line['far_heads']:4.1f} "
            f"{line['mar']:4.1f} sum {line['sum']:4.1f}, F1 at best {line['f1']:.3f}"
        )
    print(json.dumps(found))


def measure(settings: Settings, pieces: list[Floats], heads: list[Floats]) -> dict[str, float]:
    """False and missed alarms of one variant, at the margin with the least sum of the two."""
    normal, anomalous = [], []
    for seed, piece in enumerate(pieces):
        judge = LevelJudge(piece[: settings.train_rows], replace(settings, margin=1.0))
        normal.append(judge(piece[settings.train_rows :]))
        for values, shifted in _shifted(piece, settings.train_rows, np.random.default_rng(seed)):
            score = judge(values[settings.train_rows :])
            normal.append(score[~shifted])
            anomalous.append(score[shifted])
    half = replace(settings, margin=1.0, drift_rows=settings.drift_rows / 2)  # half as far to go
    head = np.concatenate([LevelJudge(rows[:HALF], half)(rows[HALF:]) for rows in heads])
    far_pieces, far_heads = _above(np.concatenate(normal)), _above(head)
    mar = 1 - _above(np.concatenate(anomalous))
    far = (far_pieces + far_heads) / 2
    best = int(np.argmin(far + mar))
    hit = 2 * ANOMALOUS_SHARE * (1 - mar)
    f1 = hit / (hit + (1 - ANOMALOUS_SHARE) * far + ANOMALOUS_SHARE * mar)
    return {
        "margin": float(MARGINS[best]),
        "far_pieces": 100 * float(far_pieces[best]),
        "far_heads": 100 * float(far_heads[best]),
        "mar": 100 * float(mar[best]),
        "sum": 100 * float((far + mar)[best]),
        "f1": float(f1.max()),
    }


def _above(score: Floats) -> Floats:
    """The share of scores above each margin."""
    return 1 - np.searchsorted(np.sort(score), MARGINS, side="right") / len(score)


def _shifted(
    piece: Floats, train_rows: int, rng: np.random.Generator
) -> Iterator[tuple[Floats, NDArray[np.bool_]]]:
    """`(values, which judged rows are shifted)`, two of each size."""
    std = piece[:train_rows].std(axis=0)
    rows = np.arange(len(piece))
    for size in np.repeat(SIZES, 2):
        tags = rng.choice(len(std), rng.integers(1, 4), replace=False)
        direction = np.zeros(len(std))
        direction[tags] = rng.normal(size=len(tags))
        first = rng.integers(550, 620)
        last = first + rng.integers(300, 400)
        shape = np.clip((rows - first + 1) / ONSET_ROWS, 0, 1) * np.clip(
            (last + BACK_ROWS - rows) / BACK_ROWS, 0, 1
        )
        shift = size * direction / np.linalg.norm(direction) * std
        yield piece + shape[:, np.newaxis] * shift, ((rows >= first) & (rows < last))[train_rows:]


if __name__ == "__main__":
    main()
