"""What systemd hears, and that nobody waits for it."""

import asyncio
import os
from types import SimpleNamespace

import pytest

from edge_agent.systemd import ServiceManager, notify


class FakeSocket:
    """A datagram socket that takes what there is room for."""

    sent: list[tuple[bytes, str]]
    room: int

    def __init__(self, *_) -> None: ...
    def __enter__(self):
        return self

    def __exit__(self, *_): ...
    def setblocking(self, _): ...
    def sendto(self, data, address):
        if len(FakeSocket.sent) >= FakeSocket.room:
            raise BlockingIOError
        FakeSocket.sent.append((data, address))


@pytest.fixture(autouse=True)
def socket(monkeypatch):
    FakeSocket.sent, FakeSocket.room = [], 1000
    fake = SimpleNamespace(socket=FakeSocket, AF_UNIX=0, SOCK_DGRAM=0)
    monkeypatch.setattr(notify, "socket", fake)
    return FakeSocket


def test_nothing_is_said_where_no_systemd_started_the_agent(socket):
    ServiceManager({}).ready()
    assert socket.sent == []


def test_a_name_that_begins_with_at_is_an_abstract_socket(socket):
    ServiceManager({"NOTIFY_SOCKET": "@/run/x"}).ready()
    assert socket.sent == [(b"READY=1", "\0/run/x")]


def test_status_is_one_line_and_said_when_it_changed(socket):
    service = ServiceManager({"NOTIFY_SOCKET": "/n"})
    for text in ("ok: all\nis well", "ok: all is well", "down: " + "x" * 5000):
        service.status(text)
    assert [data[:22] for data, _ in socket.sent] == [b"STATUS=ok: all is well", b"STATUS=down: xxxxxxxxx"]
    assert len(socket.sent[1][0]) < 500


def test_what_systemd_has_no_room_for_follows_with_the_next(socket):
    """READY is never lost to a full socket, and what is kept is bounded."""
    service = ServiceManager({"NOTIFY_SOCKET": "/n"})
    socket.room = 0
    service.ready()
    socket.room = 1000
    service.status("ok")
    assert [data for data, _ in socket.sent] == [b"READY=1", b"STATUS=ok"]


@pytest.mark.parametrize("pid", ["", str(os.getpid())], ids=["any", "own"])
async def test_pings_come_at_half_the_interval_while_alive(socket, pid):
    alive = True
    environment = {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "20000", "WATCHDOG_PID": pid}
    watching = asyncio.create_task(ServiceManager(environment).watch(lambda: alive))
    async with asyncio.timeout(60):
        while len(socket.sent) < 3:
            await asyncio.sleep(0.005)
    alive = False
    await asyncio.sleep(0)
    count = len(socket.sent)
    await asyncio.sleep(0.1)
    watching.cancel()
    assert {data for data, _ in socket.sent} == {b"WATCHDOG=1"}
    assert len(socket.sent) == count


@pytest.mark.parametrize(
    "environment", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}]
)
async def test_no_ping_where_systemd_does_not_watch_this_process(socket, environment):
    watching = asyncio.create_task(ServiceManager({"NOTIFY_SOCKET": "/n"} | environment).watch(lambda: True))
    await asyncio.sleep(0.05)
    assert not watching.done()
    watching.cancel()
    assert socket.sent == []
