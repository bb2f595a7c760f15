"""A server that takes `/api/v2/write`, and what it holds."""

import json
import os
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.services import running

INFLUX_URL = os.environ.get("INFLUX_URL")  # an InfluxDB 2 to test against, with INFLUX_TOKEN, _ORG, _BUCKET

STOP_DEADLINE_S = 60.0


@contextmanager
def victoria_metrics(folder: Path, port: int) -> Iterator[str]:
    """The server of Debian's package at that port, its data in `folder`; its URL."""
    program = shutil.which("victoria-metrics")
    if program is None:
        pytest.skip("victoria-metrics is not installed: apt-get install victoria-metrics")
    options = [f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={folder}", "-retentionPeriod=100y"]
    with running(program, *options, "-loggerLevel=ERROR", port=port) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()  # killed, it forgets its last seconds, which InfluxDB would not
            process.wait(STOP_DEADLINE_S)


def export(url: str, selector: str) -> list[dict]:
    """Its series that match, with values and times (milliseconds)."""
    query = urllib.parse.urlencode({"match[]": selector, "reduce_mem_usage": "1"})
    urllib.request.urlopen(f"{url}/internal/force_flush").read()
    text = urllib.request.urlopen(f"{url}/api/v1/export?{query}").read().decode()
    return [json.loads(line) for line in text.splitlines()]


def values(url: str, name: str) -> list[float]:
    """All values of a metric, each time once, ascending."""
    found = {
        (time, value)
        for row in export(url, name)
        for time, value in zip(row["timestamps"], row["values"], strict=True)
    }
    return sorted(value for _, value in found)
