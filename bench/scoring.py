"""Windows per second from raw values to what may be said of them, against a bare onnxruntime call.

Both in turns, by the CPU time of one core, so that a noisy machine slows both: the bare call takes ready
features; ours makes them, runs the same session and interprets (sensors, interval, what is withheld), by
column. One batch is what a poll of a large site gives a model. Limit: at least 0.8 of the bare call. Beside
it stands what whole records come to, of which the worst few say why: bounded, see `shared.contributions`.
"""

import json
import time
from collections.abc import Callable

import numpy as np
import onnxruntime as ort

from bench.arguments import takes_none
from bench.edge_site import KIND, MODEL_TAGS, release
from edge_agent.scoring import Scorer
from shared.features import window_features
from shared.interpret import interpret_many
from shared.onnx_model import INPUT, OnnxModel
from shared.schemas import Calibration, CalibrationBin, ComponentId, Manifest, TagReference, Window, utc_now

BATCH_WINDOWS = 64
CALLS_PER_TURN = 4
TURNS = 25
MISSING = 0.002  # of the values: about one of each window
RATIO_MIN = 0.8


def main() -> None:
    """Print windows per second of both, and the ratio; the last line is JSON."""
    manifest, model = _calibrated()
    values = _values(manifest)
    ours = OnnxModel(manifest, model)
    scorer, windows = Scorer(manifest, ours), _windows(manifest, values)
    features = window_features(values, manifest.feature_spec)
    bare = _session(model)
    bare_s, ours_s, records_s = _in_turns(
        lambda: bare.run(manifest.outputs, {INPUT: features}),
        lambda: interpret_many(ours.run(values), manifest, values),
        lambda: scorer.score_many(windows),
    )
    count = TURNS * CALLS_PER_TURN * BATCH_WINDOWS
    figures = {
        "windows_per_s": round(count / ours_s),
        "bare_windows_per_s": round(count / bare_s),
        "records_per_s": round(count / records_s),
    }
    ratio = round(bare_s / ours_s, 3)
    print(f"features, session, interpret {figures['windows_per_s']:>9,} windows/s")
    print(f"bare onnxruntime             {figures['bare_windows_per_s']:>9,} windows/s")
    print(f"whole records, with reasons  {figures['records_per_s']:>9,} windows/s")
    print(f"ratio                        {ratio:>9} (limit: at least {RATIO_MIN})")
    print(json.dumps({"benchmark": "scoring", **figures, "ratio": ratio, "held": ratio >= RATIO_MIN}))


def _in_turns(*calls: Callable[[], object]) -> list[float]:
    """CPU seconds of all turns of each, in turns, after one that does not count."""
    for call in calls:
        call()
    total_s = [0.0] * len(calls)
    for _ in range(TURNS):
        for number, call in enumerate(calls):
            start = time.process_time()
            for _ in range(CALLS_PER_TURN):
                call()
            total_s[number] += time.process_time() - start
    return total_s


def _calibrated() -> tuple[Manifest, bytes]:
    """The release of the site's benchmark, with what a trained one has beside its graph."""
    manifest, model = release()
    bins = tuple(
        CalibrationBin(upper_cycles=25.0 * (n + 1), margin_cycles=n + 1.0, units=20) for n in range(5)
    )
    changes = {
        "calibration": Calibration(coverage=0.9, horizon_cycles=125.0, bins=bins),
        "references": {
            tag: TagReference(unit="bar", normal=(0.0,), spread=1.0, stands_still=False)
            for tag in manifest.feature_spec.tags
        },
    }
    return manifest.model_copy(update=changes), model


def _values(manifest: Manifest) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    rng = np.random.default_rng(1)
    shape = (BATCH_WINDOWS, manifest.feature_spec.window_cycles, MODEL_TAGS)
    values = rng.normal(0, 1, shape).astype(np.float32)
    values[rng.random(shape) < MISSING] = np.nan
    return values


def _windows(manifest: Manifest, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> list[Window]:
    tags, now = manifest.feature_spec.tags, utc_now()
    return [
        Window(ComponentId("TX01", f"R{n}", KIND), KIND, 1, now, tags, each) for n, each in enumerate(values)
    ]


def _session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    takes_none(__doc__)
    main()
