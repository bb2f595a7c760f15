"""The wire of the bad days itself: it goes down without leaving anything of its clients behind."""

import asyncio
import gc
import socket
import sys
from contextlib import suppress

import pytest

from edge_agent.simulation.bad_wire import BadWire
from shared.listen import free_port

HOST = "127.0.0.1"
DEADLINE_S = 60.0


@pytest.mark.parametrize("steps", range(5))
async def test_a_client_that_comes_while_the_wire_goes_down_is_hung_up_on(steps, monkeypatch):
    """At whichever step of asyncio's taking it: nothing is left to the garbage collector, nobody stays."""
    left: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: left.append(found.exc_value))
    wire = BadWire((HOST, free_port()), [(HOST, free_port())], 1, share=0.0)
    async with wire:
        with socket.create_connection((wire.host, wire.port)) as client:
            for _ in range(steps):
                await asyncio.sleep(0)
            await wire._hang_up()
            client.setblocking(False)
            async with asyncio.timeout(DEADLINE_S):
                with suppress(ConnectionResetError):
                    assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
        gc.collect()
        assert left == []
        await wire._listen()
        socket.create_connection((wire.host, wire.port)).close()
