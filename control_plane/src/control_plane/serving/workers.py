"""Processes that answer beside the first one, on the same port: one Python process uses one core.

Each is `python -m control_plane.inference_worker`. It reads its `Order`, a line of JSON, and answers with a
`Report` a line, until it reads `STOP`; without that it ends at once, because its parent has been killed.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from control_plane.audit.troubles import Trouble
from control_plane.serving.metrics import Counts

T = TypeVar("T")

STOP = b"stop\n"
REPORT_PERIOD_S = 0.5  # how late Prometheus sees what a worker counted
STOP_TIMEOUT_S = 10.0  # for calls that are being answered, and the last report


class Report(msgspec.Struct):
    """What a worker counted since its start, and what went wrong with its records since the last report."""

    counts: Counts
    troubles: list[Trouble]


class Workers:
    """As many processes as `many`, as their parent has them.

    `order` is their first line; `tell` is called with their troubles.
    """

    def __init__(self, many: int, order: bytes, tell: Callable[[Sequence[Trouble]], None]) -> None:
        self._many, self._order, self._tell = many, order, tell
        self._processes: list[Process] = []
        self._counts: dict[int, Counts] = {}

    def counts(self) -> list[Counts]:
        """What each said last."""
        return list(self._counts.values())

    async def run(self) -> None:
        """Start them and hear them, until cancelled; RuntimeError when one ends. `stop` them then."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(self._many):
                workers.create_task(self._run())

    async def _run(self) -> None:
        command = [sys.executable, "-m", "control_plane.inference_worker"]
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
        self._processes.append(process)
        _say(process, self._order)
        await self._hear(process)
        raise RuntimeError(f"inference process {process.pid} has ended; the log says why")

    async def _hear(self, process: Process) -> None:
        assert process.stdout is not None  # noqa: S101 - a pipe, as ordered above
        async for line in process.stdout:
            report = msgspec.json.decode(line, type=Report)
            self._counts[process.pid] = report.counts
            self._tell(report.troubles)

    async def stop(self) -> None:
        """Let each answer the calls that it has, and hear its last report."""
        await asyncio.gather(*map(self._stop, self._processes))

    async def _stop(self, process: Process) -> None:
        _say(process, STOP)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._hear(process)
                await process.wait()
                return
        process.kill()
        await process.wait()


def encoded(order: Any) -> bytes:
    """An order as a line."""
    return msgspec.json.encode(order, enc_hook=str) + b"\n"


def decoded(line: bytes, kind: type[T]) -> T:
    """The order in a line."""
    return msgspec.json.decode(line, type=kind, dec_hook=_path)


def _path(kind: type[Any], text: str) -> Any:
    if kind is not Path:
        raise NotImplementedError(f"an order has no {kind}")
    return Path(text)


def _say(process: Process, line: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 - a pipe, as ordered above
    process.stdin.write(line)
