"""The callers and the echo of `bench.serving`; each runs in a process of its own."""

import asyncio
import re
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from tempfile import NamedTemporaryFile
from typing import Any

import grpc
import numpy as np

from bench.edge_site import HOST, KIND, MODEL_TAGS
from shared.features.spec import WINDOW_CYCLES
from shared.wire import open_inference_pb2 as oip
from shared.wire import rul_pb2, rul_pb2_grpc
from shared.wire.open_inference_pb2_grpc import GRPCInferenceServiceStub

READY_S = 120.0  # for a server that listens to serve its model
DEADLINE_S = 10.0  # a call
WARM_UP_S = 1  # h2load takes whole seconds
ANSWER_BYTES_MIN = 100  # an answer has more
VALUES = np.random.default_rng(1).normal(0, 1, (1, WINDOW_CYCLES, MODEL_TAGS)).astype(np.float32)

RUL_SERVICE = rul_pb2.DESCRIPTOR.services_by_name["RULInferenceService"].full_name
OIP_SERVICE = oip.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

Call = Callable[[], Awaitable[Any]]


def infer_request() -> oip.ModelInferRequest:
    """The same message for every server."""
    request = oip.ModelInferRequest(model_name=KIND, raw_input_contents=[VALUES.tobytes()])
    request.inputs.add(name="window", datatype="FP32", shape=VALUES.shape)
    return request


def predict_request() -> rul_pb2.PredictRULRequest:
    """The same window for our own service."""
    window = rul_pb2.SensorWindow(site_id="BENCH", reactor_id="R1", component=KIND)
    window.features.extend(VALUES.ravel().tolist())
    return rul_pb2.PredictRULRequest(window=window)


def latencies(address: str, own: bool, seconds: float) -> list[float]:
    """Seconds that each call took, of one client that calls for so long."""
    return asyncio.run(_latencies(address, own, seconds))


async def _latencies(address: str, own: bool, seconds: float) -> list[float]:
    async with grpc.aio.insecure_channel(address) as channel:
        call = _call(channel, own)
        await call()  # connect
        found = []
        start = time.perf_counter()
        end = start + seconds
        while start < end:
            await call()
            found.append((now := time.perf_counter()) - start)
            start = now
        return found


def _call(channel: grpc.aio.Channel, own: bool) -> Call:
    if own:
        predict, window = rul_pb2_grpc.RULInferenceServiceStub(channel).PredictRUL, predict_request()
        return lambda: predict(window, timeout=DEADLINE_S)
    infer, request = GRPCInferenceServiceStub(channel).ModelInfer, infer_request()
    return lambda: infer(request, timeout=DEADLINE_S)


def calls_per_s(address: str, own: bool, clients: int, seconds: float) -> float:
    """What a server answers `clients` that each have a connection, and one call open at any time.

    They are h2load's: callers in Python would take more CPU than the server, and be what is measured.
    """
    message = (predict_request() if own else infer_request()).SerializeToString()
    path = f"{RUL_SERVICE}/PredictRUL" if own else f"{OIP_SERVICE}/ModelInfer"
    with NamedTemporaryFile() as body:
        body.write(b"\0" + len(message).to_bytes(4, "big") + message)  # gRPC's frame: not compressed, length
        body.flush()
        command = [_h2load(), f"-c{clients}", "-m1", f"-D{seconds:g}", f"--warm-up-time={WARM_UP_S:g}"]
        command += ["-d", body.name, "-Hcontent-type: application/grpc", "-Hte: trailers"]
        ran = subprocess.run(
            [*command, f"http://{address}/{path}"], capture_output=True, text=True, check=True
        )
    return _rate(ran.stdout)


def _rate(told: str) -> float:
    """h2load's rate; RuntimeError when a call failed: gRPC's failures have no body, and HTTP's status 200."""
    rate = re.search(r"([0-9.]+) req/s", told)
    done = re.search(r"(\d+) succeeded, (\d+) failed", told)
    data = re.search(r"\((\d+)\) data", told)
    if not (rate and done and data) or int(done[2]) or int(data[1]) < ANSWER_BYTES_MIN * int(done[1]):
        raise RuntimeError(f"h2load had calls without an answer: {told[-1_000:]}")
    return float(rate[1])


def _h2load() -> str:
    program = shutil.which("h2load")
    if program is None:
        raise SystemExit("h2load is missing: apt-get install nghttp2-client")
    return program


def first_answer(address: str) -> dict[str, list[float]]:
    """The numbers that a server answers, once it is ready, by output."""
    with grpc.insecure_channel(address) as channel:
        stub = GRPCInferenceServiceStub(channel)
        deadline = time.monotonic() + READY_S
        while not _ready(stub):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{address} does not serve {KIND} within {READY_S:.0f} s")
            time.sleep(0.1)
        answer = stub.ModelInfer(infer_request(), timeout=DEADLINE_S)
    raw = answer.raw_output_contents
    return {
        tensor.name: np.frombuffer(raw[n], "<f4").tolist() if raw else list(tensor.contents.fp32_contents)
        for n, tensor in enumerate(answer.outputs)
        if tensor.datatype == "FP32"
    }


def _ready(stub: GRPCInferenceServiceStub) -> bool:
    with suppress(grpc.RpcError):  # MLServer's answer while a model is not there yet
        return bool(stub.ModelReady(oip.ModelReadyRequest(name=KIND), timeout=DEADLINE_S).ready)
    return False


def serve_echo(port: Connection) -> None:
    """Give each request back, parsed and written again, until the process is ended; tells where."""
    asyncio.run(_serve_echo(port))


async def _serve_echo(port: Connection) -> None:
    async def echo(request: oip.ModelInferRequest, _context: object) -> oip.ModelInferRequest:
        return request

    message = oip.ModelInferRequest
    handler = grpc.unary_unary_rpc_method_handler(echo, message.FromString, message.SerializeToString)
    service = grpc.method_handlers_generic_handler(OIP_SERVICE, {"ModelInfer": handler})
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((service,))
    port.send(f"{HOST}:{server.add_insecure_port(f'{HOST}:0')}")
    await server.start()
    await server.wait_for_termination()
