"""The centre's HTTP servers: two in one process, and one that cannot start."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from fastapi import FastAPI

from control_plane.app import WebServer
from control_plane.enrolment import Admission, Refusals
from control_plane.rpc.repositories import RepositoryServer
from shared.listen import free_port
from tests.support.doors import Doors
from tests.support.releases import Centre

DEADLINE_S = 30.0


async def test_a_web_server_that_cannot_start_is_told():
    """A centre without its console must not live on as if it had one."""

    @asynccontextmanager
    async def fails(_: FastAPI) -> AsyncIterator[None]:
        raise ValueError("for this test")
        yield

    server = WebServer(FastAPI(lifespan=fails), f"127.0.0.1:{free_port()}")
    try:
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises(RuntimeError, match="have ended"):
                await server.ended()
    finally:
        server.stop()


def test_the_repositories_server_is_loaded_before_anybody_can_find_it(tmp_path, monkeypatch):
    """NiceGUI's start asks each uvicorn server of the process which application it has loaded."""
    loaded = []

    class Seen(uvicorn.Server):
        def __init__(self, config: uvicorn.Config) -> None:
            loaded.append(config.loaded)
            super().__init__(config)

    monkeypatch.setattr(uvicorn, "Server", Seen)
    doors = Doors(Centre(tmp_path))
    files = doors.layout.authority().server_files(("127.0.0.1",))
    admission = Admission(doors.register, Refusals(doors.layout.centre_log()))
    RepositoryServer(doors.layout.repository, admission, doors.repositories, files).stop()
    doors.register.close()
    doors.store.close()
    assert loaded == [True]
