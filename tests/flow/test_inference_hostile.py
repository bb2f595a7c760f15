"""Callers that are hostile, broken or too many: each has a clear status code, and the service goes on."""

import asyncio
import os
import threading
from collections import Counter

import grpc
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane import inference_answering
from control_plane.serving import engine as engines
from control_plane.serving import server
from control_plane.serving.engine import Engine
from control_plane.serving.server import REQUEST_BYTES_MAX
from control_plane.serving.service import SERVICE
from shared.onnx_model import OnnxModel
from shared.wire import rul_pb2, rul_pb2_grpc
from tests.support.inference import VALUES, code_of, door, request, until, until_served
from tests.support.releases import Centre, make_release

Code = grpc.StatusCode
EXAMPLES = int(os.environ.get("INFERENCE_FUZZ", "60"))
CLEAR = {
    Code.OK,
    Code.INVALID_ARGUMENT,
    Code.NOT_FOUND,
    Code.INTERNAL,
}  # INTERNAL: gRPC's own for no protobuf
GROWTH_BYTES_MAX = 400 * 2**20  # of 1,000 calls of a window each; 1,000 of the largest would be a GiB
METHOD = f"/{SERVICE}/PredictRUL"


@pytest.fixture
def centre(tmp_path, monkeypatch):
    monkeypatch.setattr(inference_answering, "REFRESH_PERIOD_S", 0.02)
    centre = Centre(tmp_path)
    centre.publish(*make_release())
    return centre


@pytest.fixture
async def called(centre):
    """`(channel, stub)` of a door that serves a release, and still does so after the test."""
    async with door(centre) as address, grpc.aio.insecure_channel(address) as channel:
        stub = rul_pb2_grpc.RULInferenceServiceStub(channel)
        await until_served(stub, "coolant_pump/1")
        yield channel, stub
        assert (await stub.PredictRUL(request())).rul_state == "ok"


async def outcome(call) -> Code:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return Code.OK


async def test_a_thousand_calls_at_once_are_all_answered(called):
    """Nothing waits for ever, and memory stays within bounds."""
    _, stub = called
    before = psutil.Process().memory_info().rss
    codes = Counter(
        await asyncio.gather(*(outcome(stub.PredictRUL(request(VALUES + n))) for n in range(1000)))
    )
    assert codes == {Code.OK: 1000}
    assert psutil.Process().memory_info().rss - before < GROWTH_BYTES_MAX


async def test_what_is_too_many_is_told_so_at_once(called, monkeypatch):
    """A bounded queue: RESOURCE_EXHAUSTED beyond it, an answer within it."""
    _, stub = called
    monkeypatch.setattr(engines, "WAITING_MAX", 10)
    go_on = hold_runs(monkeypatch)
    asked = [asyncio.create_task(outcome(stub.PredictRUL(request()))) for _ in range(40)]
    await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    go_on.set()
    codes = Counter(await asyncio.gather(*asked))
    assert set(codes) == {Code.OK, Code.RESOURCE_EXHAUSTED}
    assert codes[Code.OK] >= 10


def hold_runs(monkeypatch) -> threading.Event:
    """Runs are made on the engine's thread, and wait there for the event."""
    go_on, run = threading.Event(), OnnxModel.run

    def held(self, *given):
        assert go_on.wait(60)
        return run(self, *given)

    monkeypatch.setattr(engines, "INLINE_S_MAX", -1.0)
    monkeypatch.setattr(OnnxModel, "run", held)
    return go_on


async def test_a_call_whose_deadline_passed_in_the_queue_is_not_run(centre, monkeypatch):
    """DEADLINE_EXCEEDED for the caller, no run for nobody."""
    made, runs, real = [], [], engines._run
    monkeypatch.setattr(inference_answering, "Engine", lambda meter: made.append(Engine(meter)) or made[0])
    async with door(centre) as address, grpc.aio.insecure_channel(address) as channel:
        stub = rul_pb2_grpc.RULInferenceServiceStub(channel)
        await until_served(stub, "coolant_pump/1")
        monkeypatch.setattr(engines, "_run", lambda *given: runs.append(1) or real(*given))
        go_on = hold_runs(monkeypatch)
        first = asyncio.create_task(outcome(stub.PredictRUL(request())))

        async def begun():
            return bool(runs)

        async def nobody_waits():  # by the server's clock, which began when the calls arrived
            return all(asked.given_up() for asked in made[0]._waiting)

        await until(begun)
        late = await asyncio.gather(*(outcome(stub.PredictRUL(request(), timeout=2.0)) for _ in range(5)))
        assert late == [Code.DEADLINE_EXCEEDED] * 5
        assert made[0]._waiting
        await until(nobody_waits)
        go_on.set()
        assert await first is Code.OK
        assert await outcome(stub.PredictRUL(request())) is Code.OK
    assert len(runs) == 2


async def test_a_huge_message_is_refused_unread(called):
    """RESOURCE_EXHAUSTED, gRPC's code for a message beyond the limit."""
    channel, _ = called
    code, said = await code_of(channel.unary_unary(METHOD)(b"\0" * (REQUEST_BYTES_MAX + 1)))
    assert (code, str(REQUEST_BYTES_MAX) in said) == (Code.RESOURCE_EXHAUSTED, True)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("site_id", "", "site_id: found ''"),
        ("reactor_id", "a/b", "reactor_id: found 'a/b'"),
        ("component", "x" * 70_000, "component: found 'xxx"),
        ("timestamp", "\0" * 1000, "timestamp: found"),
        ("timestamp", "0001-01-01T00:00:00+23:59", "timestamp: found"),
        ("component_type", "y" * 70_000, "no published model for component type 'yyy"),
    ],
)
async def test_a_field_that_does_not_fit_is_named_and_cut_short(called, field, value, words):
    """What comes back is short, whatever was sent."""
    _, stub = called
    asked = request()
    setattr(asked.window, field, value)
    code, said = await code_of(stub.PredictRUL(asked))
    assert code in (Code.INVALID_ARGUMENT, Code.NOT_FOUND)
    assert words in said
    assert len(said) < 400


async def test_callers_that_never_finish_their_message_keep_nobody_out(called):
    """Slow callers hold a place, not the service; their places are free again when they are gone."""
    channel, stub = called
    slow = [channel.stream_unary(METHOD)() for _ in range(200)]
    for each in slow:
        await each.wait_for_connection()
    assert await outcome(stub.PredictRUL(request(), timeout=30)) is Code.OK
    for each in slow:
        each.cancel()


async def test_more_calls_than_there_are_places_are_refused_unread(centre, monkeypatch):
    """Memory is bounded by the places, whatever a caller sends."""
    monkeypatch.setattr(server, "CALLS_MAX", 20)
    async with door(centre) as address, grpc.aio.insecure_channel(address) as channel:
        stub = rul_pb2_grpc.RULInferenceServiceStub(channel)
        await until_served(stub, "coolant_pump/1")
        slow = [channel.stream_unary(METHOD)() for _ in range(30)]
        await asyncio.gather(*(each.wait_for_connection() for each in slow), return_exceptions=True)
        assert await outcome(stub.PredictRUL(request())) is Code.RESOURCE_EXHAUSTED
        for each in slow:
            each.cancel()
        while await outcome(stub.PredictRUL(request())) is not Code.OK:
            await asyncio.sleep(0.01)


FLOATS = st.lists(st.floats(width=32), min_size=0, max_size=VALUES.size)
WINDOWS = st.builds(
    rul_pb2.SensorWindow,
    site_id=st.text(max_size=70), reactor_id=st.text(max_size=70), component=st.text(max_size=70),
    component_type=st.sampled_from(["", "coolant_pump", "pump"]), timestamp=st.text(max_size=40),
    features=FLOATS | st.floats(width=32).map(lambda x: [x] * VALUES.size),
).map(lambda window: rul_pb2.PredictRULRequest(window=window).SerializeToString())  # fmt: skip
GOOD = request().SerializeToString()


@st.composite
def damaged(draw) -> bytes:
    """A good request with some bytes changed, cut off or put in."""
    found = bytearray(GOOD)
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, len(found) - 1))
        found[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(found)


async def test_fuzzed_bytes_have_clear_codes(called):
    """Random bytes, damaged requests, odd but well-formed ones; INFERENCE_FUZZ=100000 for a long run."""
    channel, _ = called
    call = channel.unary_unary(METHOD)
    loop = asyncio.get_running_loop()

    async def asked(sent: bytes) -> Code:
        return await outcome(call(sent, timeout=60))

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.binary(max_size=200) | damaged() | WINDOWS)
    def fuzz(sent: bytes) -> None:
        assert asyncio.run_coroutine_threadsafe(asked(sent), loop).result(90) in CLEAR

    await asyncio.to_thread(fuzz)


async def test_numbers_that_are_none_give_no_number(called):
    """Infinite, huge and denormal values in every place: withheld, or an answer, never a crash."""
    _, stub = called
    for value in (np.inf, -np.inf, 3.4e38, -3.4e38, 1e-45, 0.0):
        features = VALUES.copy()
        features[1:] = value
        assert await outcome(stub.PredictRUL(request(features, explain=True))) in CLEAR
