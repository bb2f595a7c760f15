"""The inference client against a real server: it tries again, within a bound, and asks no more than once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import grpc
import numpy as np
import pytest

from control_plane.serving.client import ATTEMPTS_MAX, RULInferenceClient
from shared.errors import Rejected, Retryable
from shared.listen import free_port
from shared.schemas import ComponentId, Window
from shared.wire import rul_pb2, rul_pb2_grpc

WINDOW = Window(
    ComponentId("TX01", "R1", "pump_a"), "coolant_pump", 7, datetime(2026, 1, 1, tzinfo=UTC),
    ("a", "b"), np.arange(4, dtype=np.float32).reshape(2, 2),
)  # fmt: skip

TOKEN = "known"  # noqa: S105


class Scripted(rul_pb2_grpc.RULInferenceServiceServicer):
    """Says what it was told to say, call by call; then it answers."""

    def __init__(self, *codes: grpc.StatusCode) -> None:
        self.codes, self.lock = list(codes), threading.Lock()
        self.asked: list[rul_pb2.SensorWindow] = []
        self.peers: set[str] = set()
        self.metadata: dict[str, str] = {}
        self.hold: threading.Event | None = None

    def PredictRUL(self, request, context):  # noqa: N802 - the name in the .proto
        with self.lock:
            self.asked.append(request.window)
            self.peers.add(context.peer())
            self.metadata = dict(context.invocation_metadata())
            code = self.codes.pop(0) if self.codes else None
        if self.hold is not None:
            self.hold.wait(30)
        if code is not None:
            context.abort(code, "as told")
        return rul_pb2.PredictRULResponse(predicted_rul=request.window.features[-1])


@contextmanager
def serving(service, port=0):
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool)
        rul_pb2_grpc.add_RULInferenceServiceServicer_to_server(service, server)
        address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
        server.start()
        try:
            yield address
        finally:
            server.stop(None).wait()


def test_a_call_that_the_server_could_not_take_is_tried_again():
    """UNAVAILABLE and RESOURCE_EXHAUSTED are over by themselves."""
    service = Scripted(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
    with serving(service) as address, RULInferenceClient(address, token=TOKEN) as client:
        assert client.predict(WINDOW).predicted_rul == 3
    assert len(service.asked) == 3
    asked = service.asked[-1]
    assert (asked.site_id, asked.reactor_id, asked.component) == WINDOW.component
    assert (asked.component_type, list(asked.features)) == ("coolant_pump", [0, 1, 2, 3])
    assert datetime.fromisoformat(asked.timestamp) == WINDOW.timestamp
    assert service.metadata["authorization"] == f"Bearer {TOKEN}"


def test_a_refused_window_is_not_tried_again():
    """What is wrong stays wrong."""
    service = Scripted(grpc.StatusCode.INVALID_ARGUMENT)
    with (
        serving(service) as address,
        RULInferenceClient(address) as client,
        pytest.raises(Rejected, match="INVALID_ARGUMENT: as told"),
    ):
        client.predict(WINDOW)
    assert len(service.asked) == 1


def test_a_slow_server_is_asked_once_and_waited_for_no_longer_than_the_deadline():
    """No hedging: a second call would be a second run and a second entry on the record."""
    service = Scripted()
    service.hold = threading.Event()
    with serving(service) as address, RULInferenceClient(address, deadline_s=0.5) as client:
        with pytest.raises(Retryable, match="DEADLINE_EXCEEDED"):
            client.predict(WINDOW)
        service.hold.set()
    assert len(service.asked) == 1


def test_tries_are_bounded():
    """A server that takes no call is left alone after a few."""
    service = Scripted(*[grpc.StatusCode.UNAVAILABLE] * 20)
    with (
        serving(service) as address,
        RULInferenceClient(address) as client,
        pytest.raises(Retryable, match="UNAVAILABLE: as told"),
    ):
        client.predict(WINDOW)
    assert len(service.asked) == ATTEMPTS_MAX


def test_all_calls_go_over_one_connection_in_order_from_any_thread():
    """The channel is reused; answers come in the order of the windows."""
    service, windows = Scripted(), [
        Window(*[getattr(WINDOW, f) for f in ("component", "component_type", "cycle", "timestamp", "tags")],
               np.full((2, 2), n, np.float32)) for n in range(200)
    ]  # fmt: skip
    with serving(service) as address, RULInferenceClient(address) as client:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: list(client.predict_many(windows)), range(4)))
        assert [[answer.predicted_rul for answer in each] for each in found] == [list(range(200))] * 4
    assert len(service.peers) == 1


def test_the_channel_finds_a_server_that_came_back():
    """Nobody has to make a new client."""
    port = free_port()
    with RULInferenceClient(f"127.0.0.1:{port}", deadline_s=2.0) as client:
        with serving(Scripted(), port):
            assert client.predict(WINDOW).predicted_rul == 3
        with pytest.raises(Retryable):
            client.predict(WINDOW)
        with serving(Scripted(), port):
            assert client.predict(WINDOW).predicted_rul == 3
