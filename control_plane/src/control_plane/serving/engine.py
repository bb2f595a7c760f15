"""Runs models on the windows of many callers: those that come together, together.

Who comes is put in a queue, and the queue is run at the end of the same turn of the event loop, or a moment
later (see `company`): all of it that is for one model, interpreted in one go. A short run is made on the loop
itself, a long one on a thread; who comes meanwhile is in the next.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from control_plane.serving.company import Company
from shared.errors import Rejected, Retryable
from shared.interpret import Fields, interpret_many
from shared.onnx_model import BLOCK_WINDOWS, FEW_WINDOWS, OnnxModel, runtime

WAITING_MAX = 1024  # windows; at 30 us each the last one waits 30 ms
WAITING_BYTES_MAX = 64 * 1024 * 1024  # of those windows: 64 of the largest request, or 1,024 of 64 KiB
BATCH_WINDOWS_MAX = 4 * BLOCK_WINDOWS  # of a run: 2 ms of an LSTM-64, and those of another model wait behind
# Windows of a run from which a block that is filled up is faster than smaller ones: an LSTM-64 takes 0.06 ms
# for a window alone, 0.13 ms for 4 and 0.45 ms for 16.
FEW_MIN, BLOCK_MIN = 3, 13
INLINE_S_MAX = 0.002  # of a run on the event loop: a thread costs 0.1 ms, a held-up loop every other caller

Floats = NDArray[np.float32]
T = TypeVar("T")


class Run(NamedTuple):
    """What a model says of one window, or why that is nothing; a replay at this `runtime` gets the same bits.

    `took_ms` is the window's share of the run.
    """

    found: Fields | Rejected
    runtime: str
    took_ms: float


class Meter(Protocol):
    """What counts runs."""

    def ran(self, windows: int, took_s: float) -> None:
        """One run is over."""
        ...


class _Asked(NamedTuple):
    model: OnnxModel
    values: Floats
    answer: asyncio.Future[Run]
    ends: float

    def given_up(self) -> bool:
        """Whether nobody waits for it any more; who does then is let go."""
        if time.monotonic() > self.ends:
            self.answer.cancel()
        return self.answer.done()


class Engine:
    """Of one event loop. `close` it."""

    def __init__(self, meter: Meter | None = None) -> None:
        self._meter = meter
        self._waiting: deque[_Asked] = deque()
        self._bytes = self._apart = 0
        self._busy, self._company = False, Company()
        self._pause: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._took_s: dict[str, float] = {}  # a window's last share of a run, by the model's sha256

    @property
    def waiting(self) -> int:
        """Windows in the queue, and questions for reasons."""
        return len(self._waiting) + self._apart

    async def run(self, model: OnnxModel, values: Floats, within_s: float | None = None) -> Run:
        """Run one raw window `(W, T)`. Who is cancelled while it waits is not run, nor after `within_s`.

        Retryable when the queue is full; Rejected when the window is not for the model, or its graph fails.
        """
        self._require_fit(model, values)
        if not self._busy:
            self._company.begin()
            if self._company.complete(1) and self._inline(model, 1):
                return _found(self._note(model, _runs(model, [values]))[0])
            self._go()
        asked = self._asked(model, values, within_s)
        if self._pause is not None and self._company.complete(len(self._waiting)):
            self._next()
        return await asked

    async def run_all(self, model: OnnxModel, windows: Sequence[Floats]) -> list[Run]:
        """The same for the windows of one call: all are answered, or none."""
        for values in windows:
            self._require_fit(model, values)
        answers = [self._asked(model, values, None) for values in windows]
        if not self._busy:
            self._company.begin()
            self._go()
        return await asyncio.gather(*answers)

    async def apart(self, work: Callable[..., T], *given: object) -> T:
        """Long work with a model, on the engine's thread; Retryable when too much waits."""
        self._require_room(0)
        self._apart += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)
        finally:
            self._apart -= 1

    def close(self) -> None:
        """End the thread when what it runs is over; who still waits is cancelled."""
        self._end_pause()
        for asked in self._waiting:
            asked.answer.cancel()
        self._waiting.clear()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _require_fit(self, model: OnnxModel, values: Floats) -> None:
        spec = model.manifest.feature_spec
        if values.shape != (expected := (spec.window_cycles, len(spec.tags))):
            raise Rejected(f"{model.manifest.folder}: a window of {values.shape}, not {expected}")
        self._require_room(values.nbytes)

    def _require_room(self, size: int) -> None:
        if self.waiting >= WAITING_MAX or self._bytes + size > WAITING_BYTES_MAX:
            raise Retryable(f"{self.waiting} windows wait already; call again in a moment")

    def _inline(self, model: OnnxModel, windows: int) -> bool:
        """Whether a run of so many is short enough for the event loop."""
        return self._took_s.get(model.manifest.sha256, 0.0) * windows <= INLINE_S_MAX

    def _asked(self, model: OnnxModel, values: Floats, within_s: float | None) -> "asyncio.Future[Run]":
        """Put a window in the queue."""
        ends = math.inf if within_s is None else time.monotonic() + within_s
        asked = _Asked(model, values, asyncio.get_running_loop().create_future(), ends)
        self._waiting.append(asked)
        self._bytes += values.nbytes
        return asked.answer

    def _go(self) -> None:
        """Have a run made, at the end of this turn of the loop or when those who are expected are there."""
        self._busy = True
        asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        """Start the run of those that wait, or wait for more."""
        self._end_pause()
        loop, there = asyncio.get_running_loop(), len(self._waiting)
        if wait_s := self._company.wait_s(there):
            self._pause = loop.call_later(wait_s, self._next)
            return
        batch = self._take()
        if not batch:
            self._busy = False
            return
        model, windows = batch[0].model, [asked.values for asked in batch]
        if self._inline(model, len(batch)):
            self._settle(batch, _runs(model, windows))
            self._go_on()
            return
        try:
            running = loop.run_in_executor(self._thread, _runs, model, windows)
        except RuntimeError:  # closed
            for asked in batch:
                asked.answer.cancel()
            return
        running.add_done_callback(lambda done: self._after(batch, done))

    def _end_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _take(self) -> list[_Asked]:
        """Those that are run next: of the model whose window waits longest. Who gave up is dropped."""
        there = [asked for asked in self._waiting if not asked.given_up()]
        chosen: list[_Asked] = []
        rest: deque[_Asked] = deque()
        for asked in there:
            fits = asked.model is there[0].model and len(chosen) < BATCH_WINDOWS_MAX
            (chosen if fits else rest).append(asked)
        self._waiting, self._bytes = rest, sum(asked.values.nbytes for asked in rest)
        return chosen

    def _after(self, batch: Sequence[_Asked], done: "asyncio.Future[list[Run | Exception]]") -> None:
        if done.cancelled():
            for asked in batch:
                asked.answer.cancel()
            return
        self._settle(batch, done.result())
        self._go_on()

    def _go_on(self) -> None:
        """A run is over."""
        if self._waiting:
            self._company.begin()
            self._go()
        else:
            self._busy = False

    def _settle(self, batch: Sequence[_Asked], found: Sequence[Run | Exception]) -> None:
        for asked, run in zip(batch, self._note(batch[0].model, found), strict=True):
            if asked.answer.done():
                continue
            if isinstance(run, Run):
                asked.answer.set_result(run)
            else:
                asked.answer.set_exception(run)

    def _note(self, model: OnnxModel, found: Sequence[Run | Exception]) -> Sequence[Run | Exception]:
        took_s = sum(run.took_ms for run in found if isinstance(run, Run)) / 1e3
        self._took_s[model.manifest.sha256] = took_s / len(found)
        if self._meter is not None:
            self._meter.ran(len(found), took_s)
        return found


def _found(run: Run | Exception) -> Run:
    if isinstance(run, Run):
        return run
    raise run


def _runs(model: OnnxModel, windows: Sequence[Floats]) -> list[Run | Exception]:
    """A run, or why there is none, for each window."""
    if len(windows) < FEW_MIN:
        return [found for window in windows for found in _run(model, window[np.newaxis], 1)]
    return _run(model, np.stack(windows), FEW_WINDOWS if len(windows) < BLOCK_MIN else BLOCK_WINDOWS)


def _run(model: OnnxModel, values: Floats, block: int) -> list[Run | Exception]:
    start = time.perf_counter()
    try:
        outputs = model.run(values, block)
        took_ms = (time.perf_counter() - start) * 1e3 / len(values)
        answers = interpret_many(outputs, model.manifest, values).each()
    except Exception as error:  # whatever it is, each caller gets it and the engine goes on
        return [error] * len(values)
    how = runtime(block)
    return [Run(found, how, took_ms) for found in answers]
