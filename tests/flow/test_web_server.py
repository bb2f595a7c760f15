"""The centre's HTTP servers: two in one process, and one that cannot start."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from fastapi import FastAPI, Request
from httpx import AsyncClient

from control_plane.app import WebServer, WebTls
from control_plane.enrolment.admission import Admission
from control_plane.enrolment.refusals import Refusals
from control_plane.layout import Layout
from control_plane.rpc.repositories import RepositoryServer
from shared.errors import ConfigError
from shared.listen import free_port
from tests.support.doors import Doors
from tests.support.releases import Centre

DEADLINE_S = 60.0


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


async def test_beyond_loopback_the_console_speaks_tls_or_does_not_start(tmp_path):
    """Invariant 9: in clear only on loopback; with a certificate, TLS, on any address."""
    with pytest.raises(ConfigError, match="only loopback"):
        WebServer(FastAPI(), f"0.0.0.0:{free_port()}")
    app = FastAPI()

    @app.get("/")
    async def scheme(request: Request) -> str:
        return request.url.scheme

    files = Layout(tmp_path).authority().server_files(("127.0.0.1",))
    server = WebServer(app, f"0.0.0.0:{free_port()}", WebTls(files.chain, files.key))
    try:
        port, known = server.url.rpartition(":")[2], ssl.create_default_context(cafile=files.authority)
        async with AsyncClient(verify=known, timeout=DEADLINE_S) as client:
            assert (await client.get(f"https://127.0.0.1:{port}/")).json() == "https"
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
