"""An inference door of a test's centre, and callers of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
import pytest

from control_plane.enrolment.admission import Admission
from control_plane.inference_answering import InferenceSettings
from control_plane.inference_door import InferenceDoor
from control_plane.serving.server_dialled import ServerDialled
from control_plane.serving.tokens import TokenFile
from shared.listen import free_port
from shared.wire import rul_pb2, rul_pb2_grpc
from tests.support.releases import Centre, spec

SPEC = spec()
VALUES = np.linspace(1, 9, SPEC.window_cycles * len(SPEC.tags), dtype=np.float32)
DEADLINE_S = 60.0


@asynccontextmanager
async def door(
    centre: Centre, admission: Admission | None = None, host: str = "127.0.0.1", **settings: Any
) -> AsyncIterator[str]:
    """An open one, following publications; its address."""
    address = f"{host}:{free_port()}"
    opened = InferenceDoor(centre.layout, InferenceSettings(address, **settings), admission)
    await opened.open(lambda _: None)
    following = asyncio.create_task(opened.follow())
    try:
        yield address
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await opened.close()


@asynccontextmanager
async def behind_tls(centre: Centre) -> AsyncIterator[ServerDialled]:
    """The real server as it stands beyond loopback; how it is dialled by whoever has all that it takes."""
    tokens = TokenFile(centre.folder / "tokens")
    token = tokens.add("caller")
    async with door(centre, host="0.0.0.0", names=("127.0.0.1",), tokens=tokens.path) as address:
        authority = centre.layout.authority().path
        yield ServerDialled(f"127.0.0.1:{address.rpartition(':')[2]}", token, authority)


def request(
    features: np.ndarray = VALUES, component: str = "coolant_pump", site: str = "TX01", **more: Any
) -> rul_pb2.PredictRULRequest:
    """A window of the type that `tests.support.releases` makes."""
    window = rul_pb2.SensorWindow(
        site_id=site, reactor_id="R1", component=component, component_type="coolant_pump",
        features=[float(x) for x in features], timestamp="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    return rul_pb2.PredictRULRequest(window=window, **more)


async def code_of(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    """How a call that fails fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), str(caught.value.details())


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    """Return when it is so; TimeoutError after `DEADLINE_S`."""
    async with asyncio.timeout(DEADLINE_S):
        while not await look():
            await asyncio.sleep(0.02)


async def until_served(stub: rul_pb2_grpc.RULInferenceServiceStub, release: str) -> None:
    """Return when the release answers."""

    async def served() -> bool:
        try:
            return bool((await stub.PredictRUL(request())).model_version == release)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return False

    await until(served)
