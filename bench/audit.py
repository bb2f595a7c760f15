"""How long 100,000 predictions take to verify, and what one costs to put on the record.

Verified twice: the lake's rows, and the files (tiles) by public keys alone; every byte is hashed, every
entry read and written again as RFC 8785 has it, every checkpoint's signature checked. Limit: a minute.

An append at the centre is what `AuditLogger.log_prediction` costs its caller; at a site, adding a leaf to the
log (its hash and the tree). Limit: 20 us, the mean of the best of several turns, by the thread's own time.
Beside it stands the site's whole entry: from a prediction to RFC 8785 JSON to the log.
"""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.arguments import takes_none
from control_plane.audit.evidence import keys_on_file, verify_centre
from control_plane.audit.prediction_logger import AuditLogger
from edge_agent.audit import AuditLog
from shared.log_key import LogKey
from shared.merkle import Frontier, leaf_hash
from shared.schemas import AuditEvent, PredictionRecord
from tests.support.audited_centre import SITE, AuditedCentre, prediction

PREDICTIONS = 100_000
BETWEEN_CHECKPOINTS = 2_000
APPENDS = 5_000
TURNS = 5
VERIFY_S_MAX = 60.0
APPEND_US_MAX = 20.0


def main() -> None:
    """Print the seconds and the microseconds; the last line is JSON."""
    with tempfile.TemporaryDirectory() as folder:
        verified = _verify(Path(folder) / "centre")
        made = [prediction(number) for number in range(APPENDS)]
        site, centre = _site(made, Path(folder)), _centre(made, Path(folder) / "inference")
    figures = {**verified, **site, **centre}
    for name, value in figures.items():
        print(f"{name:<24} {value:>8,.2f}")
    print(f"limits: {VERIFY_S_MAX:.0f} s to verify both, {APPEND_US_MAX:.0f} us for an append")
    held = verified["verify_both_s"] <= VERIFY_S_MAX
    held &= max(site["site_append_us"], centre["centre_append_us"]) <= APPEND_US_MAX
    print(json.dumps({"benchmark": "audit", "predictions": PREDICTIONS, **figures, "held": held}))


def _verify(folder: Path) -> dict[str, float]:
    centre = AuditedCentre(folder)
    for _ in range(PREDICTIONS // BETWEEN_CHECKPOINTS):
        centre.more(BETWEEN_CHECKPOINTS)
    start = time.perf_counter()
    if centre.look().findings:
        raise SystemExit("the witness found a contradiction in what this benchmark made")
    found = {"witness_s": time.perf_counter() - start}
    keys = keys_on_file(centre.layout)
    start = time.perf_counter()
    lake, files = verify_centre(centre.layout, keys, SITE)
    both_s = time.perf_counter() - start
    if not (lake.verified and files.verified and lake.covered == files.covered == PREDICTIONS):
        raise SystemExit(f"did not verify: {lake.problems or files.problems}")
    return {name: round(value, 2) for name, value in {**found, "verify_both_s": both_s}.items()}


def _site(made: list[PredictionRecord], folder: Path) -> dict[str, float]:
    """The leaf alone, and the whole entry."""
    key, frontier = LogKey.load_or_create(folder / "site.pem"), Frontier()
    log, again = AuditLog(SITE, key), AuditLog(SITE, key)

    def entry(log: AuditLog, p: PredictionRecord) -> bytes:
        return log.append(AuditEvent.PREDICTION, p.key, p.timestamp, prediction=p).leaf()

    leaves = [entry(log, each) for each in made]
    return {
        "site_append_us": _cost_us(lambda leaf: frontier.append(leaf_hash(leaf)), leaves),
        "site_entry_us": _cost_us(lambda p: entry(again, p), made),
    }


def _centre(made: list[PredictionRecord], folder: Path) -> dict[str, float]:
    """The caller's own time: a process beside it commits what it appended, in groups."""
    windows = [np.frombuffer(each.window, "<f4") for each in made]

    def call(at: int) -> None:
        p = made[at]
        place = p.site_id, p.reactor_id, p.component
        logger.log_prediction(*place, "1", windows[at], p.rul, p.timestamp, raw=p.raw, rul_low=p.rul_low)

    with AuditLogger(folder) as logger:
        cost_us = _cost_us(call, range(len(made)))
        logger.flush()
        if logger.failed:
            raise SystemExit(f"{logger.failed} predictions were not logged")
    return {"centre_append_us": cost_us}


def _cost_us(call: Callable[[Any], object], items: Sequence[Any]) -> float:
    """Microseconds of this thread a call, the mean of the best turn."""
    best_s = float("inf")
    for _ in range(TURNS):
        start = time.thread_time()
        for item in items:
            call(item)
        best_s = min(best_s, time.thread_time() - start)
    return round(best_s / len(items) * 1e6, 2)


if __name__ == "__main__":
    takes_none(__doc__)
    main()
