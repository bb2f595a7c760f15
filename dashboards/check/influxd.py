"""An InfluxDB to ask: Debian's 1.6 as a process of our own, or the InfluxDB 2 that INFLUX_URL names."""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import httpx

from control_plane.sinks.influx import InfluxWriter
from shared.listen import free_port

DATABASE = "telemetry"
START_DEADLINE_S, STOP_DEADLINE_S, ANSWER_S = 60.0, 30.0, 120.0
LOOK_S = 0.05
INFLUX_2 = os.environ.get("INFLUX_URL")
CONFIG = """\
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{http}"
  log-enabled = false
[logging]
  level = "error"
  suppress-logo = true
"""


class Series(NamedTuple):
    """One series of an answer: its tags, its columns, its rows; `time` is in nanoseconds since 1970."""

    tags: dict[str, str]
    columns: list[str]
    rows: list[list[Any]]


class WritesLines(Protocol):
    """What `InfluxFeed` needs of a writer."""

    rejected: int

    def write(self, lines: Sequence[str]) -> None: ...


class Influx:
    """A database: writes line protocol, answers InfluxQL."""

    def __init__(self, url: str, database: str = DATABASE, token: str = "") -> None:
        headers = {"Authorization": f"Token {token}"} if token else {}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=ANSWER_S, trust_env=False)
        self._database = database
        self.rejected = 0

    def write(self, lines: Sequence[str]) -> None:
        """Over `/write`, which 1.x and 2 have."""
        content = "\n".join(lines).encode()
        answer = self._client.post(
            "/write", params={"db": self._database, "precision": "ns"}, content=content
        )
        if answer.is_error:
            raise ValueError(f"InfluxDB refuses points: {answer.text[:500]}")

    def ask(self, query: str) -> list[Series]:
        """ValueError with the server's reason when it does not understand."""
        asked = {"db": self._database, "q": query, "epoch": "ns"}
        answer = self._client.post("/query", data=asked).json()
        found = answer.get("results", [answer])[0] if "error" not in answer else answer
        if "error" in found:
            raise ValueError(f"{found['error']} in {query}")
        return [
            Series(each.get("tags", {}), each["columns"], each.get("values", []))
            for each in found.get("series", [])
        ]

    def close(self) -> None:
        """End the connections."""
        self._client.close()


@contextmanager
def influxdb(folder: Path) -> Iterator[Influx]:
    """The server, its data in `folder`; FileNotFoundError where influxd is not installed."""
    if INFLUX_2:
        token, bucket = os.environ["INFLUX_TOKEN"], os.environ["INFLUX_BUCKET"]
        own = Influx(INFLUX_2, bucket, token)
        own.write = InfluxWriter(INFLUX_2, token, os.environ["INFLUX_ORG"], bucket).write  # type: ignore[method-assign]
        yield own
        own.close()
        return
    port = free_port()
    (folder / "influxdb.conf").write_text(CONFIG.format(folder=folder, http=port, rpc=free_port()))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["influxd", "-config", str(folder / "influxdb.conf")],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        own = Influx(f"http://127.0.0.1:{port}")
        try:
            _wait(own, process, folder / "log")
            own.ask(f'CREATE DATABASE "{DATABASE}"')
            yield own
        finally:
            own.close()
            process.terminate()
            process.wait(STOP_DEADLINE_S)


def _wait(own: Influx, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while True:
        try:
            own.ask("SHOW DATABASES")
        except httpx.HTTPError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"influxd does not answer: {log.read_text()[-500:]}") from error
            time.sleep(LOOK_S)
        else:
            return
