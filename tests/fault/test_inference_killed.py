"""SIGKILL for the first of several inference processes: the others end, what they answered is kept."""

import asyncio
import subprocess
import sys

import grpc
import psutil
import pytest

from shared.listen import free_port
from shared.wire import rul_pb2_grpc
from tests.support.agent_process import until
from tests.support.inference import request
from tests.support.releases import Centre, make_release

SERVER = """
import asyncio, sys
from pathlib import Path
from control_plane.inference_answering import InferenceSettings
from control_plane.inference_door import InferenceDoor
from control_plane.layout import Layout

async def serve(folder, address):
    door = InferenceDoor(Layout(Path(folder)), InferenceSettings(address, processes=2), None)
    await door.open(print)
    await door.follow()

asyncio.run(serve(*sys.argv[1:]))
"""
CALLS = 40


def listening(process, port):
    """Those of a server's processes that do."""
    family = (process, *process.children())
    listens = [(each, found) for each in family for found in each.net_connections("tcp")]
    return [each for each, found in listens if found.status == "LISTEN" and found.laddr.port == port]


@pytest.mark.slow
def test_the_first_process_is_killed_and_all_that_was_answered_is_on_the_record(tmp_path):
    """No process stays behind on the port, and the next start commits what each of them had spooled."""
    centre, port = Centre(tmp_path), free_port()
    centre.publish(*make_release())
    address = f"127.0.0.1:{port}"
    command = [sys.executable, "-c", SERVER, str(centre.layout.data_dir), address]
    with subprocess.Popen(command) as started:
        try:
            first = psutil.Process(started.pid)
            until(lambda: len(listening(first, port)) == 2, "two processes listen")
            beside = [each for each in listening(first, port) if each != first]
            answered = asyncio.run(predictions(address))
        finally:
            started.kill()
    psutil.wait_procs(beside, timeout=60)
    assert not any(each.is_running() for each in beside)
    with centre.layout.audit_logger():
        pass
    record = centre.layout.inference_log()
    assert sorted(record.prediction_ids()) == sorted(answered)
    assert record.verify().verified


async def predictions(address):
    """The ids of some, each over a connection of its own."""
    found = []
    for _ in range(CALLS):
        async with grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            answer = await rul_pb2_grpc.RULInferenceServiceStub(channel).PredictRUL(request())
            found.append(answer.prediction_id)
    return found
