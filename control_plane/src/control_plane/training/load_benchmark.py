"""How fast a released graph loads and answers, as ONNX and as TorchScript (PRD 5.4); one thread each."""

import io
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

LOADS = 5  # the median of them
SINGLE_RUNS = 200  # of one window: enough for a 99th percentile
BATCH = 256  # windows at once
BATCH_RUNS = 20
WARM_UP_RUNS = 5  # the first runs allocate, and TorchScript compiles in them

Floats = NDArray[np.float32]
Answer = Callable[[Floats], object]


class Timing(NamedTuple):
    """Milliseconds to load and for one window (median and 99th percentile); windows/s in batches of BATCH."""

    form: str
    size_bytes: int
    load_ms: float
    p50_ms: float
    p99_ms: float
    windows_per_s: float


def benchmark(model: bytes, script: bytes, window: Floats) -> list[Timing]:
    """Both forms over copies of one window's features `(W, F)`."""
    return [
        _time("ONNX", len(model), lambda: _onnx(model), window),
        _time("TorchScript", len(script), lambda: _torchscript(script), window),
    ]


def same_answers(model: bytes, script: bytes, features: Floats) -> float:
    """The largest difference of any output for features `(N, W, F)`, relative above 1."""
    pairs = zip(_onnx(model)(features), _torchscript(script)(features), strict=True)  # type: ignore[call-overload]
    return max(float((np.abs(a - b) / np.maximum(1.0, np.abs(b))).max()) for a, b in pairs)


def _time(form: str, size: int, load: Callable[[], Answer], window: Floats) -> Timing:
    loads = [_elapsed_s(load) for _ in range(LOADS)]
    answer = load()
    one = window[np.newaxis]
    many = np.repeat(one, BATCH, axis=0)
    for _ in range(WARM_UP_RUNS):
        answer(one)
        answer(many)
    single = [_elapsed_s(lambda: answer(one)) for _ in range(SINGLE_RUNS)]
    batch = [_elapsed_s(lambda: answer(many)) for _ in range(BATCH_RUNS)]
    return Timing(
        form,
        size,
        1000 * float(np.median(loads)),
        1000 * float(np.median(single)),
        1000 * float(np.quantile(single, 0.99)),
        BATCH / float(np.median(batch)),
    )


def _elapsed_s(what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def _onnx(model: bytes) -> Answer:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda features: session.run(None, {"features": features})


def _torchscript(script: bytes) -> Answer:
    import warnings

    import torch

    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have its own formats used
        graph = torch.jit.load(io.BytesIO(script)).eval()

    def answer(features: Floats) -> list[Floats]:
        with torch.inference_mode():
            return [value.numpy() for value in graph(torch.from_numpy(features))]

    return answer
