"""Debian's MQTT broker as a process of its own on a loopback port."""

import getpass
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.services import wait_for_port


@contextmanager
def mosquitto(
    folder: Path, port: int, access: str = "allow_anonymous true"
) -> Iterator[subprocess.Popen[bytes]]:
    """Listening at `port` until the end, or until the caller kills it; `access` is lines of its settings."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    settings = folder / f"mosquitto-{port}.conf"
    settings.write_text(
        f"listener {port} 127.0.0.1\nset_tcp_nodelay true\npersistence false\n"
        f"user {getpass.getuser()}\n{access}\n"
    )
    process = subprocess.Popen([program, "-c", str(settings)], stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        yield process
    finally:
        process.kill()
        process.wait()
