"""The centre's inference beside MLServer, a bare gRPC echo and bare onnxruntime, in one run.

The same message (one raw window, `inference.GRPCInferenceService`) goes to all three servers in turns, from
processes of their own: a Python client alone for the latency, 16 of h2load's for the rate. All run the same
LSTM with one thread. Ours verifies the window, interprets the answer and puts it on the audit record;
MLServer's runtime makes the same features in plain numpy and answers the graph's outputs, which must be ours.
Limits: p50 at most 0.6 of MLServer's and 1.6 of the echo's; with 16 clients at least 2.5 x MLServer's rate.
"""

import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import onnxruntime as ort

from bench.arguments import takes_none
from bench.edge_site import HOST, release, write_config
from bench.mlserver import VERSION, mlserver
from bench.serving_calls import VALUES, calls_per_s, first_answer, latencies, serve_echo
from shared.features import window_features
from shared.listen import free_port
from shared.onnx_model import INPUT
from shared.schemas import Manifest
from tests.support.releases import Centre
from tests.support.services import running

CLIENTS = 16
TURNS, TURN_S = 6, 2.0
DIFFERENCE_MAX = 1e-4  # of an answer: ours runs blocks of 16 windows, MLServer one
P50_RATIO_MAX, ECHO_RATIO_MAX, RPS_RATIO_MIN = 0.6, 1.6, 2.5

OURS, OWN, ECHO = "pm-stack-smr", "pm-stack-smr, PredictRUL", "bare gRPC echo"
PEER = f"MLServer {VERSION}"

Latencies = Callable[[str, bool, float], list[float]]


def main() -> None:
    """Print the table; the last line is JSON."""
    manifest, model = release()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        addresses = {OURS: stack.enter_context(_ours(folder, manifest, model))}
        addresses[PEER] = stack.enter_context(mlserver(folder / "mlserver", model))
        _check_same_answers(addresses)
        addresses |= {OWN: addresses[OURS], ECHO: stack.enter_context(_echo())}
        context = multiprocessing.get_context("spawn")
        pool = stack.enter_context(ProcessPoolExecutor(1, context))
        p50_ms, rps = _measured(addresses, lambda *how: pool.submit(latencies, *how).result())
    _tell(p50_ms, rps, _bare_ms(manifest, model))


@contextmanager
def _ours(folder: Path, manifest: Manifest, model: bytes) -> Iterator[str]:
    """The inference part of a centre that has published the model, as `control-plane serve` starts it."""
    centre, port, config = Centre(folder / "ours"), free_port(), folder / "fleet.json"
    centre.publish(manifest, model)
    write_config(config, 1, free_port(), 1.0)
    command = ["control-plane", "serve", "--part", "inference", "--config", str(config)]
    command += ["--data-dir", str(centre.layout.data_dir), "--inference-listen", f"{HOST}:{port}"]
    with running(*command, port=port):
        yield f"{HOST}:{port}"


@contextmanager
def _echo() -> Iterator[str]:
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=serve_echo, args=(its,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


def _check_same_answers(addresses: dict[str, str]) -> None:
    """Each server answers the same numbers, or the comparison is of two different things."""
    answers = {name: first_answer(address) for name, address in addresses.items()}
    for name, answer in answers.items():
        for output in ("anomaly_score", "ood_score"):  # a RUL is interpreted at our side
            if not np.allclose(answer[output], answers[OURS][output], rtol=0, atol=DIFFERENCE_MAX):
                raise SystemExit(f"{name}: {output} {answer[output]}; {OURS} {answers[OURS][output]}")


def _measured(addresses: dict[str, str], measure: Latencies) -> tuple[dict[str, float], dict[str, float]]:
    """p50 in ms with one client and calls/s with CLIENTS, of each, in turns."""
    alone: dict[str, list[float]] = {name: [] for name in addresses}
    among: dict[str, list[float]] = {name: [] for name in addresses}
    for turn in range(TURNS):
        print(f"turn {turn + 1} of {TURNS}", flush=True)
        for name, address in addresses.items():
            alone[name] += measure(address, name == OWN, TURN_S)
            among[name].append(calls_per_s(address, name == OWN, CLIENTS, TURN_S))
    p50_ms = {name: float(np.median(found)) * 1e3 for name, found in alone.items()}
    return p50_ms, {name: float(np.mean(found)) for name, found in among.items()}


def _bare_ms(manifest: Manifest, model: bytes) -> float:
    """Median of one session run on one window's ready features."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    features, took_s = window_features(VALUES, manifest.feature_spec), []
    for _ in range(2_000):
        start = time.perf_counter()
        session.run(manifest.outputs, {INPUT: features})
        took_s.append(time.perf_counter() - start)
    return float(np.median(took_s)) * 1e3


def _tell(p50_ms: dict[str, float], rps: dict[str, float], bare_ms: float) -> None:
    print(f"{'':<28} {'p50, 1 client':>14} {f'{CLIENTS} clients':>16}")
    for name, found in p50_ms.items():
        print(f"{name:<28} {found:>11.3f} ms {rps[name]:>8,.0f} calls/s")
    print(f"{'bare onnxruntime':<28} {bare_ms:>11.3f} ms")
    ratios = {
        "p50_ratio": round(p50_ms[OURS] / p50_ms[PEER], 3),
        "echo_ratio": round(p50_ms[OURS] / p50_ms[ECHO], 3),
        "rps_ratio": round(rps[OURS] / rps[PEER], 2),
    }
    held = (
        ratios["p50_ratio"] <= P50_RATIO_MAX
        and ratios["echo_ratio"] <= ECHO_RATIO_MAX
        and ratios["rps_ratio"] >= RPS_RATIO_MIN
    )
    print(f"p50 of MLServer's   {ratios['p50_ratio']:>6} (limit: at most {P50_RATIO_MAX})")
    print(f"p50 of the echo's   {ratios['echo_ratio']:>6} (limit: at most {ECHO_RATIO_MAX})")
    print(f"rate of MLServer's  {ratios['rps_ratio']:>6} (limit: at least {RPS_RATIO_MIN})")
    figures = {"onnxruntime_ms": round(bare_ms, 3)}
    for key, name in (("", OURS), ("peer_", PEER), ("own_", OWN), ("echo_", ECHO)):
        figures |= {f"{key}p50_ms": round(p50_ms[name], 3), f"{key}rps": round(rps[name])}
    print(json.dumps({"benchmark": "serving", **ratios, **figures, "held": held}))


if __name__ == "__main__":
    takes_none(__doc__)
    main()
