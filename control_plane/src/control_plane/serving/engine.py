"""Runs models on the windows of many callers: one alone at once, those that wait together.

A window that comes when nothing runs is run at once, in the caller's own step of the event loop. Who comes in
the same turn of the loop, or while a run goes on, is put in a queue; the next run takes all of the queue that
is for one model. Nobody waits for company.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from shared.errors import Rejected, Retryable
from shared.onnx_model import BLOCK_WINDOWS, OnnxModel, runtime

WAITING_MAX = 1024  # windows; at 30 us each the last one waits 30 ms
WAITING_BYTES_MAX = 64 * 1024 * 1024  # of those windows: 64 of the largest request, or 1,024 of 64 KiB
BATCH_WINDOWS_MAX = 4 * BLOCK_WINDOWS  # of a run: 2 ms of an LSTM-64, and those of another model wait behind
TOGETHER_MIN = BLOCK_WINDOWS // 2  # fewer are faster one by one than in a block that is filled up
INLINE_S_MAX = 0.002  # of a run on the event loop: a thread costs 0.1 ms, a held-up loop every other caller

Floats = NDArray[np.float32]
Outputs = dict[str, Floats]
T = TypeVar("T")


class Run(NamedTuple):
    """What a model made of one window: each output `(k,)`; a replay at this `runtime` gets the same bits."""

    outputs: Outputs
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
        self._busy = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._took_s: WeakKeyDictionary[OnnxModel, float] = WeakKeyDictionary()

    @property
    def waiting(self) -> int:
        """Windows in the queue, and questions for reasons."""
        return len(self._waiting) + self._apart

    async def infer(self, model: OnnxModel, values: Floats) -> Outputs:
        """Every output `(k,)` for one raw window `(W, T)`; raises as `run` does."""
        return (await self.run(model, values)).outputs

    async def run(self, model: OnnxModel, values: Floats, within_s: float | None = None) -> Run:
        """Run one raw window `(W, T)`. Who is cancelled while it waits is not run, nor after `within_s`.

        Retryable when the queue is full; Rejected when the window is not for the model, or its graph fails.
        """
        spec = model.manifest.feature_spec
        if values.shape != (expected := (spec.window_cycles, len(spec.tags))):
            raise Rejected(f"{model.manifest.folder}: a window of {values.shape}, not {expected}")
        self._require_room(values.nbytes)
        loop = asyncio.get_running_loop()
        if not self._busy:
            self._busy = True  # until the next turn of the loop: who comes in this one waits for the others
            loop.call_soon(self._next)
            if self._took_s.get(model, 0.0) <= INLINE_S_MAX:
                return self._alone(model, values)
        ends = math.inf if within_s is None else time.monotonic() + within_s
        asked = _Asked(model, values, loop.create_future(), ends)
        self._waiting.append(asked)
        self._bytes += values.nbytes
        return await asked.answer

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
        for asked in self._waiting:
            asked.answer.cancel()
        self._waiting.clear()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _require_room(self, size: int) -> None:
        if self.waiting >= WAITING_MAX or self._bytes + size > WAITING_BYTES_MAX:
            raise Retryable(f"{self.waiting} windows wait already; call again in a moment")

    def _alone(self, model: OnnxModel, values: Floats) -> Run:
        """Run one window here: a thread would cost it more than the run."""
        [found] = _run(model, values[np.newaxis], 1)
        self._note(model, [found])
        if isinstance(found, Run):
            return found
        raise found

    def _next(self) -> None:
        """Start the run of those that wait."""
        batch = self._take()
        if not batch:
            self._busy = False
            return
        model, windows = batch[0].model, [asked.values for asked in batch]
        loop = asyncio.get_running_loop()
        if len(batch) == 1 and self._took_s.get(model, 0.0) <= INLINE_S_MAX:
            self._settle(batch, _runs(model, windows))
            loop.call_soon(self._next)
            return
        try:
            running = loop.run_in_executor(self._thread, _runs, model, windows)
        except RuntimeError:  # closed
            for asked in batch:
                asked.answer.cancel()
            return
        running.add_done_callback(lambda done: self._after(batch, done))

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
        self._next()

    def _settle(self, batch: Sequence[_Asked], found: Sequence[Run | Exception]) -> None:
        self._note(batch[0].model, found)
        for asked, run in zip(batch, found, strict=True):
            if asked.answer.done():
                continue
            if isinstance(run, Run):
                asked.answer.set_result(run)
            else:
                asked.answer.set_exception(run)

    def _note(self, model: OnnxModel, found: Sequence[Run | Exception]) -> None:
        took_s = sum(run.took_ms for run in found if isinstance(run, Run)) / 1e3
        self._took_s[model] = took_s / len(found)
        if self._meter is not None:
            self._meter.ran(len(found), took_s)


def _runs(model: OnnxModel, windows: Sequence[Floats]) -> list[Run | Exception]:
    """A run, or why there is none, for each window."""
    if len(windows) < TOGETHER_MIN:
        return [found for window in windows for found in _run(model, window[np.newaxis], 1)]
    return _run(model, np.stack(windows), BLOCK_WINDOWS)


def _run(model: OnnxModel, values: Floats, block: int) -> list[Run | Exception]:
    start = time.perf_counter()
    try:
        outputs = model.run(values, block)
    except Exception as error:  # whatever it is, each caller gets it and the engine goes on
        return [error] * len(values)
    took_ms, how = (time.perf_counter() - start) * 1e3 / len(values), runtime(block)
    flat = {name: found.reshape(len(values), -1) for name, found in outputs.items()}
    return [Run({name: rows[n] for name, rows in flat.items()}, how, took_ms) for n in range(len(values))]
