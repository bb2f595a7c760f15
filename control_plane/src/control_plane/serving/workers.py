"""Processes that answer beside the first one, on the same port: one Python process uses one core.

Each is `python -m control_plane.inference_worker`. It reads its `Order`, a line of JSON, and answers with a
`Report` a line, until it reads `STOP`; without that it ends at once, because its parent has been killed.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from subprocess import PIPE, Popen

import msgspec

from control_plane.audit.troubles import Trouble
from control_plane.serving.metrics import Counts

STOP = b"stop\n"
REPORT_PERIOD_S = 0.5  # how late Prometheus sees what a worker counted
STOP_TIMEOUT_S = 5.0  # for calls that are being answered, and the last report


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
        self._heard: dict[Popen[bytes], asyncio.Task[None]] = {}
        self._counts: dict[int, Counts] = {}

    def counts(self) -> list[Counts]:
        """What each said last."""
        return list(self._counts.values())

    async def run(self) -> None:
        """Start them and hear them; RuntimeError when one ends. `stop` them when this is cancelled."""
        for _ in range(self._many):
            await self._start()
        if self._heard:
            await asyncio.wait(self._heard.values(), return_when=asyncio.FIRST_COMPLETED)
            raise RuntimeError("an inference process has ended; the log says why")

    async def _start(self) -> None:
        command = [sys.executable, "-m", "control_plane.inference_worker"]
        # Not the loop's own way: that forks, which the threads of gRPC forbid.
        process = Popen(command, bufsize=0, stdin=PIPE, stdout=PIPE)  # noqa: ASYNC220 - milliseconds
        told = asyncio.StreamReader()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(told), process.stdout
        )
        self._heard[process] = asyncio.create_task(self._hear(process, told, pipe))
        _say(process, self._order)

    async def _hear(
        self, process: Popen[bytes], told: asyncio.StreamReader, pipe: asyncio.ReadTransport
    ) -> None:
        with closing(pipe):
            async for line in told:
                report = msgspec.json.decode(line, type=Report)
                self._counts[process.pid] = report.counts
                self._tell(report.troubles)

    async def stop(self) -> None:
        """Let each answer the calls that it has, and hear its last report."""
        for process in self._heard:
            if process.pid in self._counts:
                _say(process, STOP)
            else:  # it is still starting, and has no calls
                process.kill()
        if self._heard:
            await asyncio.wait(self._heard.values(), timeout=STOP_TIMEOUT_S)
        for process, heard in self._heard.items():
            with process:  # closes its pipes and waits for it
                process.kill()  # what has closed its output has ended; what has not, hangs
                await heard


def _say(process: Popen[bytes], line: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 - a pipe, as ordered above
    with suppress(BrokenPipeError):  # it has ended, which `_hear` sees
        process.stdin.write(line)
