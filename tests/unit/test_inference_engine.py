"""The engine: who comes together is run together; bounded, and nobody waits for ever."""

import asyncio
import threading

import numpy as np
import pytest

from control_plane.serving import company
from control_plane.serving import engine as rules
from control_plane.serving.engine import Engine
from shared.errors import Rejected, Retryable
from shared.onnx_model import BLOCK_WINDOWS, FEW_WINDOWS, OnnxModel, recorded_block, runtime
from tests.support.releases import make_release, spec

SPEC = spec()
SHAPE = (SPEC.window_cycles, len(SPEC.tags))
VALUES = np.linspace(1, 9, SHAPE[0] * SHAPE[1], dtype=np.float32).reshape(SHAPE)


class Watched(OnnxModel):
    """Tells how many windows each run had, and on which thread; waits where it is told to."""

    def __init__(self, **changes):
        super().__init__(*make_release(**changes))
        self.runs, self.go_on, self.began = [], threading.Event(), threading.Event()
        self.go_on.set()

    def run(self, values, block=BLOCK_WINDOWS):
        self.runs.append((len(values), block, threading.current_thread() is threading.main_thread()))
        self.began.set()
        assert self.go_on.wait(30)
        return super().run(values, block)


def raw(run):
    """The model's outputs for one window, as they go on the record."""
    return run.found["raw"]


@pytest.fixture
def engine():
    made = Engine()
    yield made
    made.close()


@pytest.fixture
async def held(engine, monkeypatch):
    """A model whose runs count as long: the first of them stays on the engine's thread until `go_on`."""
    monkeypatch.setattr(rules, "INLINE_S_MAX", -1.0)
    model = Watched()
    model.go_on.clear()
    first = asyncio.create_task(engine.run(model, VALUES))
    await asyncio.to_thread(model.began.wait, 30)
    yield model
    model.go_on.set()
    await first


async def test_a_window_alone_is_run_on_the_loop_in_a_block_of_one(engine):
    """No thread, no filled-up block: the shortest way there is."""
    model = Watched()
    found = await engine.run(model, VALUES)
    assert model.runs == [(1, 1, True)]
    assert recorded_block(found.runtime) == 1


async def test_callers_of_the_same_moment_are_run_together_once_they_are_known(engine, monkeypatch):
    """Micro-batching: a try finds out how many they are, and then the last one to come begins the run."""
    monkeypatch.setattr(company, "TRIED_EVERY", 2)
    model = Watched()
    await engine.run(model, VALUES)
    for _ in range(2):
        await asyncio.gather(*(engine.run(model, VALUES + n) for n in range(7)))
    assert [run[:2] for run in model.runs] == [(1, 1), (7, FEW_WINDOWS), (7, FEW_WINDOWS)]


async def test_the_windows_of_one_call_are_run_together(engine):
    """Nobody has to be waited for."""
    model = Watched()
    found = await engine.run_all(model, [VALUES + n for n in range(7)])
    assert model.runs == [(7, FEW_WINDOWS, True)]
    assert [raw(run)["rul"] for run in found] == [
        raw(await engine.run(model, VALUES + n))["rul"] for n in range(7)
    ]


async def test_callers_that_wait_are_run_together(engine, held):
    """Micro-batching: who comes while a run goes on is in the next one, all of them in one."""
    asked = [asyncio.create_task(engine.run(held, VALUES + n)) for n in range(20)]
    await asyncio.sleep(0)
    held.go_on.set()
    found = await asyncio.gather(*asked)
    assert held.runs[1:] == [(20, BLOCK_WINDOWS, False)]
    alone = OnnxModel(*make_release()).run(np.stack([VALUES + n for n in range(20)]))
    assert [raw(run)["rul"] for run in found] == alone["rul"].tolist()


async def test_each_answer_says_how_it_is_computed_again(engine):
    """Replay: the runtime on the record leads to the same bits, whoever else called."""
    model, blocks = Watched(), set()
    for together in (1, rules.FEW_MIN, rules.BLOCK_MIN):
        windows = [VALUES * (1 + n / 7) for n in range(together)]
        for window, run in zip(windows, await engine.run_all(model, windows), strict=True):
            again = model.run(window[np.newaxis], recorded_block(run.runtime))
            assert raw(run) == {name: rows.ravel().tolist() for name, rows in again.items()}
            assert run.runtime == runtime(recorded_block(run.runtime))
            blocks.add(recorded_block(run.runtime))
    assert blocks == {1, FEW_WINDOWS, BLOCK_WINDOWS}


async def test_who_gave_up_while_waiting_is_not_run(engine, held):
    """A deadline that passed in the queue costs no run."""
    asked = [asyncio.create_task(engine.run(held, VALUES)) for _ in range(3)]
    await asyncio.sleep(0)
    for each in asked[:2]:
        each.cancel()
    held.go_on.set()
    await asyncio.wait(asked)
    assert [size for size, _, _ in held.runs[1:]] == [1]


async def test_who_has_waited_too_long_is_not_run(engine, held):
    """The same where nobody has cancelled it yet."""
    late = asyncio.create_task(engine.run(held, VALUES, within_s=-1.0))
    await asyncio.sleep(0)
    held.go_on.set()
    await asyncio.wait([late])
    assert (late.cancelled(), held.runs[1:]) == (True, [])


async def test_a_full_queue_refuses_at_once(engine, held, monkeypatch):
    """Bounded in windows: the caller is told to come again."""
    monkeypatch.setattr(rules, "WAITING_MAX", 2)
    asked = [asyncio.create_task(engine.run(held, VALUES)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Retryable, match="2 windows wait"):
        await engine.run(held, VALUES)
    held.go_on.set()
    await asyncio.gather(*asked)
    await engine.run(held, VALUES)


async def test_the_queue_is_bounded_in_bytes(engine, held, monkeypatch):
    """Few windows that are huge are too many as well."""
    monkeypatch.setattr(rules, "WAITING_BYTES_MAX", VALUES.nbytes)
    asked = asyncio.create_task(engine.run(held, VALUES))
    await asyncio.sleep(0)
    with pytest.raises(Retryable):
        await engine.run(held, VALUES)
    held.go_on.set()
    await asked


async def test_models_are_not_mixed_in_a_run(engine, held):
    """Callers of two models get their own one's answer."""
    other = Watched(bias=100.0)
    asked = [asyncio.create_task(engine.run(model, VALUES)) for model in (held, other) * 3]
    held.go_on.set()
    found = [raw(run)["rul"][0] for run in await asyncio.gather(*asked)]
    assert found[1::2] == [pytest.approx(each + 100.0) for each in found[::2]]


async def test_a_window_of_another_shape_spoils_nobody_elses_run(engine):
    """It is refused before it is queued."""
    with pytest.raises(Rejected, match="coolant_pump/1: a window of"):
        await engine.run(Watched(), VALUES[:-1])


async def test_a_graph_that_fails_tells_its_callers_and_the_engine_goes_on(engine):
    """Rejected to who asked, whether alone or together."""
    model = Watched()
    sound, model._session = model._session, None
    found = await asyncio.gather(*[engine.run(model, VALUES) for _ in range(10)], return_exceptions=True)
    assert all(isinstance(each, Rejected) for each in found)
    model._session = sound
    await engine.run(model, VALUES)


async def test_a_slow_model_leaves_the_loop(engine, monkeypatch):
    """A model whose runs are long is run on the thread even for one, so that others' calls go on."""
    monkeypatch.setattr(rules, "INLINE_S_MAX", 0.0)
    model = Watched()
    await engine.run(model, VALUES)
    await engine.run(model, VALUES)
    assert [inline for _, _, inline in model.runs] == [True, False]  # how long it takes is known after one


async def test_closing_cancels_who_waits():
    """Nobody is left waiting for an engine that has ended."""
    engine, model = Engine(), Watched()
    asked = [asyncio.create_task(engine.run_all(model, [VALUES])) for _ in range(2)]
    await asyncio.sleep(0)
    engine.close()
    await asyncio.wait(asked, timeout=30)
    assert [each.cancelled() for each in asked] == [True, True]
    assert model.runs == []
