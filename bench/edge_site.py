"""A site for the benchmarks of the agent: a Modbus server of many units, a signed model, the agent's process.

The model is an LSTM (16 tags x 3 features -> 64, two layers, over 30 cycles) with random weights, the
size of those that this product trains: what it says is of no interest, what it costs is.
"""

import asyncio
import hashlib
import json
import math
import multiprocessing
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from ctypes import c_double, c_longlong
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
from onnx import TensorProto, helper, numpy_helper

from edge_agent.simulation.modbus_server import PlantServer
from shared.config_defaults import FIRST_TAG_ADDRESS
from shared.features import FeatureSpec
from shared.listen import free_port
from shared.onnx_model import OnnxModel
from shared.reactor_config import Component, load_fleet
from shared.schemas import ComponentId, GoldenWindow, Manifest, utc_now
from tests.support.releases import Centre
from tests.support.web import served

SITE, REACTOR, KIND = "BENCH", "R1", "bench_unit"
TAGS = 1_000  # float32 a unit, as on a controller of a larger skid
TICK_STEP = 1_024  # a tag's number is tick x this + the tag's own: it tells both, exactly, in a float32
MODEL_TAGS = 16
HIDDEN = 64
HOST = "127.0.0.1"
START_S = 300.0  # for a process, on a busy machine
OUTPUTS = ["rul", "anomaly_score", "ood_score"]
BIN = Path(sys.executable).parent
TICK_TIMES_MAX = 200_000


def write_config(
    path: Path, units: int, port: int, period_s: float, tags_each: int = TAGS, without: int | None = None
) -> None:
    """A fleet file with one site of `units` components of `tags_each` float32, or one tag fewer."""
    places = {f"t{i}": {"address": FIRST_TAG_ADDRESS + 2 * i} for i in range(tags_each) if i != without}
    tags = {name: {"unit": "1", "range": [-1e9, 1e9], "register": place} for name, place in places.items()}
    plant = {"protocol": "modbus_tcp", "host": HOST, "port": port}
    plant |= {"poll_period_s": period_s, "timeout_s": period_s}
    reactor = {"reactor_type": "test_rig"} | {f"unit_{n}": {"type": KIND} for n in range(1, units + 1)}
    document = {"component_types": {KIND: {"tags": tags}}, SITE: {"plant": plant, REACTOR: reactor}}
    path.write_text(json.dumps(document))  # JSON is YAML


@contextmanager
def serving(config: Path, tick_s: float, phase_s: float, distinct: int | None = None) -> Iterator[Any]:
    """The plant's server in a process of its own; gives the wall clock's time of each tick, by number.

    The first tick is `phase_s` after a whole second, the others follow each `tick_s`. With `distinct` so many
    ticks' numbers come in turn, worked out before, so that the server of a large plant is not what is
    measured; the cycle register counts on.
    """
    context = multiprocessing.get_context("spawn")
    times: Any = context.Array(c_double, TICK_TIMES_MAX, lock=False)
    ready = context.Value(c_longlong, 0)
    process = context.Process(
        target=_serve, args=(config, tick_s, phase_s, times, ready, distinct), daemon=True
    )
    process.start()
    try:
        _until(lambda: bool(ready.value) or not process.is_alive(), "the Modbus server")
        if not ready.value:
            raise RuntimeError(f"the Modbus server ended with {process.exitcode}")
        yield times
    finally:
        process.kill()
        process.join()


def _serve(config: Path, tick_s: float, phase_s: float, times: Any, ready: Any, distinct: int | None) -> None:
    asyncio.run(_serve_ticks(config, tick_s, phase_s, times, ready, distinct))


async def _serve_ticks(
    config: Path, tick_s: float, phase_s: float, times: Any, ready: Any, distinct: int | None
) -> None:
    """New numbers in every register each `tick_s`; the cycle register says which tick they are of."""
    fleet = load_fleet(config)
    async with TickingServer(HOST, fleet.sites[SITE].plant.port, fleet.components(SITE)) as server:
        if distinct is not None:
            server.prepare(distinct)
        began_s = math.ceil(time.time()) + phase_s
        for tick in range(TICK_TIMES_MAX):
            await asyncio.sleep(max(0.0, began_s + tick * tick_s - time.time()))
            times[tick] = time.time()
            server.tick(tick)
            ready.value = 1


class TickingServer(PlantServer):
    """Shows a tick of all components at once; a tag's number tells tag and tick."""

    def __init__(self, host: str, port: int, components: Mapping[ComponentId, Component]) -> None:
        super().__init__(host, port, components)
        self._prepared: list[dict[ComponentId, Any]] = []

    def prepare(self, distinct: int) -> None:
        """Work out so many ticks before."""
        for tick in range(distinct):
            self._show_numbers(tick)
            self._prepared.append(dict(self._images))

    def tick(self, tick: int) -> None:
        """All registers are of this tick now."""
        if not self._prepared:
            self._show_numbers(tick)
            return
        for component_id, image in self._prepared[tick % len(self._prepared)].items():
            holding = image["holding"].copy()
            holding[:2] = divmod(tick, 1 << 16)  # the cycle register: the first two, high word first
            self._images[component_id] = {**image, "holding": holding}

    def _show_numbers(self, tick: int) -> None:
        for component_id, component in self.components.items():
            values = {tag: float(tick * TICK_STEP + int(tag[1:])) for tag in component.tags}
            self.show(component_id, tick, values)


def release() -> tuple[Manifest, bytes]:
    """The model and its manifest, as `control-plane train` would leave them."""
    spec = FeatureSpec(component_type=KIND, tags=tuple(f"t{i}" for i in range(MODEL_TAGS)))
    model = _lstm(spec.shape[1])
    window = np.linspace(1, 2, spec.window_cycles * MODEL_TAGS, dtype="<f4")
    fields: dict[str, Any] = {
        "name": KIND, "version": 1, "component_type": KIND, "sha256": hashlib.sha256(model).hexdigest(),
        "feature_spec": spec, "feature_spec_hash": spec.hash(), "outputs": OUTPUTS, "horizon_cycles": 125.0,
        "anomaly_threshold": 1e9, "ood_threshold": 1e9, "training_data_version": "none", "metrics": {},
        "calibration": {}, "golden": [GoldenWindow(window=b"", outputs={})], "golden_tolerance": 1e-4,
        "oldest_agent_version": "0.1.0", "created": utc_now(),
    }  # fmt: skip
    found = OnnxModel(Manifest(**fields), model).run(window.reshape(1, spec.window_cycles, -1))
    outputs = {name: [float(x) for x in np.ravel(values)] for name, values in found.items()}
    return Manifest(**(fields | {"golden": [GoldenWindow(window=window.tobytes(), outputs=outputs)]})), model


def _lstm(features: int) -> bytes:
    rng, node = np.random.default_rng(1), helper.make_node
    weights: dict[str, Any] = {"axis1": np.array([1], np.int64), "last": np.array(-1, np.int64)}
    nodes = [node("Transpose", ["features"], ["steps0"], perm=[1, 0, 2])]
    for layer, width in enumerate((features, HIDDEN)):
        w, r = (f"{name}{layer}" for name in "WR")
        weights[w] = rng.normal(0, 0.05, (1, 4 * HIDDEN, width)).astype(np.float32)
        weights[r] = rng.normal(0, 0.05, (1, 4 * HIDDEN, HIDDEN)).astype(np.float32)
        nodes += [
            node("LSTM", [f"steps{layer}", w, r], [f"all{layer}"], hidden_size=HIDDEN),
            node("Squeeze", [f"all{layer}", "axis1"], [f"steps{layer + 1}"]),
        ]
    nodes.append(node("Gather", ["steps2", "last"], ["final"], axis=0))
    for name, width in (("rul", 3), ("anomaly_score", 1), ("ood_score", 1)):
        weights[f"head_{name}"] = rng.normal(0, 0.05, (HIDDEN, width)).astype(np.float32)
        nodes.append(node("MatMul", ["final", f"head_{name}"], [name]))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "lstm",
        [value("features", TensorProto.FLOAT, ["n", None, features])],
        [value(name, TensorProto.FLOAT, ["n", 3 if name == "rul" else 1]) for name in OUTPUTS],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


class AgentProcess:
    """`edge-agent run`, started and ended at will, and what its process and its metrics tell."""

    def __init__(
        self, folder: Path, arguments: list[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self._health = f"{HOST}:{free_port()}"
        self._command = [str(BIN / "edge-agent"), "run", *arguments, "--health", self._health]
        self._environment = os.environ | dict(environment or {})
        self._log = folder / "agent.log"
        self._process: subprocess.Popen[bytes]
        self._logger: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it anew on the data it left. Its log is written by another process, as journald's is."""
        with self._log.open("ab") as log:
            self._logger = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log)
        pipe = self._logger.stdin
        self._process = subprocess.Popen(self._command, stdout=pipe, stderr=pipe, env=self._environment)
        if pipe is not None:
            pipe.close()

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        return self._process.pid

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._ended()

    def stop(self) -> None:
        """SIGTERM, and wait until it has drained."""
        self._process.terminate()
        self._ended()

    def _ended(self) -> None:
        self._process.wait(START_S)
        if self._logger is not None:
            self._logger.wait()

    def cpu_s(self) -> float:
        """User and system time so far, of all its threads."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def rss_mib(self) -> float:
        """Resident memory now."""
        return float(psutil.Process(self.pid).memory_info().rss) / 2**20

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels, 0.0 where there is none yet."""
        with urllib.request.urlopen(f"http://{self._health}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        found = [line for line in lines if line.split("{")[0].split(" ")[0] == name]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    def until(self, name: str, at_least: float) -> None:
        """Wait for a metric to reach a value; RuntimeError when the agent ended."""

        def reached() -> bool:
            if self._process.poll() is not None:
                raise RuntimeError(f"the agent ended: {self._log.read_text()[-2_000:]}")
            with suppress(OSError):
                return self.metric(name) >= at_least
            return False

        _until(reached, f"{name} >= {at_least:g}")


@contextmanager
def agent(
    folder: Path, config: Path, kafka: str, environment: Mapping[str, str] | None = None
) -> Iterator[AgentProcess]:
    """A started agent of the site that has a signed model for every unit; it drains and ends at the end."""
    centre = Centre(folder, (SITE,))
    centre.roll_out(centre.publish(*release()))
    with served(centre.layout.repository) as url:
        arguments = ["--config", str(config), "--site", SITE, "--kafka", kafka, "--repository", url]
        arguments += ["--data-dir", str(folder / "data"), "--trust-dir", str(centre.trust[SITE])]
        found = AgentProcess(folder, [*arguments, "--fleet", f"{HOST}:1"], environment)
        found.start()
        try:
            yield found
        finally:
            found.stop()


def _until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {START_S:.0f} s for {what}")
        time.sleep(0.1)
