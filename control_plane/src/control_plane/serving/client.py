"""The client of `RULInferenceService` (PRD 5.3): a window goes out, the answer comes back, or why not.

Blocking, because those who stream telemetry do so on threads. Retries and their back-off are gRPC's own, and
keep within the call's deadline. A call is never hedged: each one that reaches a server costs it a run and an
entry on the record.
"""

import json
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Self

import grpc

from control_plane.serving.caller import PURPOSE
from shared.errors import PmStackError, Rejected, Retryable
from shared.schemas import Window
from shared.wire import rul_pb2, rul_pb2_grpc

DEADLINE_S = 5.0  # of a call with its retries: one takes milliseconds
OPEN_CALLS_MAX = 64  # the server runs those that wait together
ATTEMPTS_MAX = 5  # gRPC's own limit
BACK_OFF_S = 0.1  # before the first retry, at random up to this; then twice as long each time
BACK_OFF_MAX_S = 1.0
RECONNECT_MAX_MS = 2_000  # between two tries to reach a server that was away; gRPC would wait two minutes

_SERVICE = rul_pb2.DESCRIPTOR.services_by_name["RULInferenceService"].full_name
_RETRIES = {
    "name": [{"service": _SERVICE}],
    "retryPolicy": {
        "maxAttempts": ATTEMPTS_MAX,
        "initialBackoff": f"{BACK_OFF_S}s",
        "maxBackoff": f"{BACK_OFF_MAX_S}s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
    },
}
_OPTIONS = (
    ("grpc.service_config", json.dumps({"methodConfig": [_RETRIES]})),
    ("grpc.initial_reconnect_backoff_ms", int(BACK_OFF_S * 1000)),
    ("grpc.min_reconnect_backoff_ms", int(BACK_OFF_S * 1000)),
    ("grpc.max_reconnect_backoff_ms", RECONNECT_MAX_MS),
)  # fmt: skip
_LATER = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNAUTHENTICATED,  # a person puts that right, and the same window is answered
}

UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"  # of gRPC's words, where TLS does not come about

Answer = rul_pb2.PredictRULResponse


class Unanswered(Retryable):
    """The server answered nothing, or not yet; `code` is gRPC's."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Refused(Rejected):
    """The server will not answer this call; `code` is gRPC's."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class RULInferenceClient:
    """One channel, which connects at the first call and again when it must; any thread may use it.

    A context manager. `credentials` are those of TLS, None in clear on loopback; `token` is a bearer token;
    `purpose` says what its calls are for (`caller.EXPLORATION`), "" for the plant.
    """

    def __init__(
        self,
        address: str,
        credentials: grpc.ChannelCredentials | None = None,
        *,
        token: str = "",
        purpose: str = "",
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.address, self._deadline_s = address, deadline_s
        self._channel = (
            grpc.insecure_channel(address, _OPTIONS)
            if credentials is None
            else grpc.secure_channel(address, credentials, _OPTIONS)
        )
        self._stub = rul_pb2_grpc.RULInferenceServiceStub(self._channel)
        said = {"authorization": f"Bearer {token}" if token else "", PURPOSE: purpose}
        self._metadata = tuple((key, value) for key, value in said.items() if value)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def predict(self, window: Window) -> Answer:
        """Retryable when the server is away, too busy or too slow, is another one than was meant, or takes
        no such token; Rejected when it refuses the window."""
        [found] = self.predict_many([window])
        if isinstance(found, PmStackError):
            raise found
        return found

    def predict_many(
        self, windows: Iterable[Window], *, explain: bool = False
    ) -> Iterator[Answer | PmStackError]:
        """For each window in turn its answer, or what `predict` would raise; many calls are open at once.

        `explain` asks for contributions also where nothing is flagged.
        """
        calls: deque[Any] = deque()
        try:
            for window in windows:
                if len(calls) == OPEN_CALLS_MAX:
                    yield self._outcome(calls.popleft())
                request = rul_pb2.PredictRULRequest(window=_message(window), explain=explain)
                calls.append(
                    self._stub.PredictRUL.future(request, timeout=self._deadline_s, metadata=self._metadata)
                )
            while calls:
                yield self._outcome(calls.popleft())
        finally:  # the caller may have enough
            for call in calls:
                call.cancel()

    def close(self) -> None:
        """End the channel; calls that are open fail."""
        self._channel.close()

    def _outcome(self, call: Any) -> Answer | PmStackError:
        try:
            answer: Answer = call.result()
        except grpc.RpcError:
            code, said = call.code(), f"{self.address}: {call.code().name}: {call.details()}{_hint(call)}"
            return Unanswered(code, said) if code in _LATER else Refused(code, said)
        return answer


def _hint(call: Any) -> str:
    """What would be right, where the other side's words leave it open."""
    if UNTRUSTED in (call.details() or ""):
        return "; its certificate is not signed by the authority that was given for it, or is of another name"
    if "Socket closed" in (call.details() or ""):
        return "; a server that hangs up may speak TLS alone, or want to see a site's certificate"
    if call.code() is grpc.StatusCode.UNAUTHENTICATED:
        return "; the token comes from PM_INFERENCE_TOKEN"
    return ""


def _message(window: Window) -> rul_pb2.SensorWindow:
    return rul_pb2.SensorWindow(
        **window.component._asdict(),
        component_type=window.component_type,
        timestamp=window.timestamp.isoformat(),
        features=window.values.ravel().tolist(),
    )
