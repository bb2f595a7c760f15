"""Processes that tests need: started on free loopback ports, ended with the test."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shared import listen

START_DEADLINE_S = 180.0  # the console takes 5 s alone, 30 s among ten busy processes
BIN = Path(sys.executable).parent


def module_command(module: str) -> list[str]:
    """What runs a module as `python -m` does, but looks for free ports where only this process's tests do."""
    code = (
        f"import runpy; from shared import listen; listen.LISTEN_PORTS = {listen.LISTEN_PORTS!r}; "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", code]


def wait_for_port(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """Return when something listens on the port; fail when the process ends or the deadline passes."""
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


@contextmanager
def running(*arguments: str, port: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A program of this environment, in a process group of its own, killed at the end."""
    process = subprocess.Popen([str(BIN / arguments[0]), *arguments[1:]], start_new_session=True)
    try:
        if port is not None:
            wait_for_port(port, process)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
