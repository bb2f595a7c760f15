"""The agent beside ThingsBoard Gateway: the same Modbus server, each to its own broker, in one run.

*CPU*: 10 units x 1,000 float32 at 1 Hz, in turns. Ours scores every unit with a signed LSTM and sends to
Apache Kafka; the gateway's best mode reads ranges, keeps them in SQLite and sends to Mosquitto with QoS 1.
*Faults*: 2 units x 100 float32 whose numbers tell their own tag and tick: the broker away for 15 s, `kill -9`
of the program, a device without one tag's registers. Counted at the far side of the broker: numbers under a
wrong tag, and numbers of other tags that never came. A tick stands for two polls; one that the program was
not there to see from beginning to end is left out. Limit: at least 10 x the gateway's points a CPU second.
"""

import json
import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Any, Protocol

import psutil
from confluent_kafka import Consumer

from bench.arguments import takes_none
from bench.edge_site import HOST, TICK_STEP, agent, serving, write_config
from bench.thingsboard import VERSION, Gateway, platform
from shared.listen import free_port
from tests.support.kafka import KafkaBroker, running_kafka
from tests.support.services import wait_for_port

PERIOD_S, PHASE_S = 1.0, 0.5
CPU_UNITS, CPU_TAGS, CPU_S = 10, 1_000, 30.0
TURNS = 2
FAULT_UNITS, FAULT_TAGS = 2, 100
FAULT_TICK_S = 2.0
MISSING_TAG = 40  # the device answers exception 02 where its registers should be
CALM_S, AWAY_S, AFTER_S = 12.0, 15.0, 30.0
START_S = 120.0
RATIO_MIN = 10.0
OURS, PEER = "pm-stack-smr", f"ThingsBoard {VERSION}"

Values = dict[str, float]
Taken = Callable[[str, Values], None]
Pair = tuple[int, str, str]  # tick, unit, tag


class Program(Protocol):
    """What is compared."""

    @property
    def pid(self) -> int: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...


class Broker(Protocol):
    """What it sends to."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


@dataclass
class Arrivals:
    """What came out at the far side of the broker."""

    points: int = 0
    misattributed: int = 0
    newest: int = -1  # tick
    seen: set[Pair] = field(default_factory=set)

    def take(self, unit: str, values: Values) -> None:
        """Count one record; a number says what tag and tick it is of."""
        self.points += len(values)
        for tag, value in values.items():
            tick, number = divmod(int(value), TICK_STEP)
            self.misattributed += f"t{number}" != tag
            self.seen.add((tick, unit, tag))
            self.newest = max(self.newest, tick)

    def lost(self, ticks: set[int], units: int, tags: set[str]) -> int:
        """Numbers of these ticks that never came."""
        return sum(
            (k, f"unit_{u}", tag) not in self.seen for k in ticks for u in range(1, units + 1) for tag in tags
        )


class Mosquitto:
    """Debian's MQTT broker, which keeps its queues when it is ended in order."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin")
        if program is None:
            raise SystemExit("mosquitto is missing: apt-get install mosquitto")
        self.port = free_port()
        self._command = [program, "-c", str(folder / "mosquitto.conf")]
        limits = "max_queued_messages 0\nmax_inflight_messages 0\n"
        (folder / "mosquitto.conf").write_text(
            f"listener {self.port} {HOST}\nallow_anonymous true\n{limits}"
            f"persistence true\npersistence_location {folder}/\n"
        )
        self._process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Return when it listens."""
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        wait_for_port(self.port, self._process)

    def stop(self) -> None:
        """An orderly end."""
        self._process.terminate()
        self._process.wait()


Side = Callable[[Path, Path, int, int, int, Taken], AbstractContextManager[tuple[Program, Broker]]]


@contextmanager
def _ours(
    folder: Path, config: Path, _port: int, _units: int, _tags: int, taken: Taken
) -> Iterator[tuple[Program, Broker]]:
    (folder / "kafka").mkdir()
    with (
        running_kafka(folder / "kafka") as broker,
        _consumer(broker, taken),
        agent(folder, config, broker.bootstrap) as found,
    ):
        yield found, broker


@contextmanager
def _peer(
    folder: Path, _config: Path, port: int, units: int, tags: int, taken: Taken
) -> Iterator[tuple[Program, Broker]]:
    broker = Mosquitto(folder)
    broker.start()
    gateway = Gateway(folder / "gateway", units, tags, port, broker.port)
    try:
        with platform(broker.port, taken):
            gateway.start()
            yield gateway, broker
    finally:
        gateway.kill()
        broker.stop()


SIDES: dict[str, Side] = {OURS: _ours, PEER: _peer}


@contextmanager
def _consumer(broker: KafkaBroker, taken: Taken) -> Iterator[None]:
    """Everything of `telemetry_raw`, as it comes."""
    settings = {"bootstrap.servers": broker.bootstrap, "group.id": "peers", "log_level": 0}
    consumer = Consumer(settings | {"auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe(["telemetry_raw"])
    ended = Event()

    def run() -> None:
        while not ended.is_set():
            message = consumer.poll(0.2)
            if message is not None and not message.error():
                record = json.loads(message.value() or b"")
                taken(record["component"], record["metrics"])

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        consumer.close()


def main() -> None:
    """Print both tables; the last line is JSON."""
    rates = dict.fromkeys(SIDES, 0.0)
    for _ in range(TURNS):
        for name in SIDES:
            rates[name] += _points_per_cpu_s(name) / TURNS
    ratio = round(rates[OURS] / rates[PEER], 1)
    for name, rate in rates.items():
        print(f"{name:<20} {rate:>9,.0f} points per CPU second", flush=True)
    print(f"ratio {ratio} (limit: at least {RATIO_MIN:.0f})", flush=True)
    print(f"{'':<20} {'fault':<18} {'points':>9} {'lost':>9} {'misattributed':>14}", flush=True)
    totals = {name: {"lost": 0, "misattributed": 0} for name in SIDES}
    for fault in FAULTS:
        for name in SIDES:
            arrivals, lost = _under(fault, name)
            totals[name]["lost"] += lost
            totals[name]["misattributed"] += arrivals.misattributed
            line = f"{arrivals.points:>9,} {lost:>9,} {arrivals.misattributed:>14,}"
            print(f"{name:<20} {fault:<18} {line}", flush=True)
    held = ratio >= RATIO_MIN and not any(totals[OURS].values())
    figures = {"points_per_cpu_s_ratio": ratio, "points_per_cpu_s": round(rates[OURS])}
    figures |= {"peer_points_per_cpu_s": round(rates[PEER]), **{f"{k}": v for k, v in totals[OURS].items()}}
    figures |= {f"peer_{k}": v for k, v in totals[PEER].items()}
    print(json.dumps({"benchmark": "peers", **figures, "held": held}))


def _points_per_cpu_s(name: str) -> float:
    arrivals = Arrivals()
    with _running(name, CPU_UNITS, CPU_TAGS, PERIOD_S, arrivals) as (program, _, _times):
        _until(lambda: arrivals.points >= 12 * CPU_UNITS * CPU_TAGS)  # and ours scores from 10 cycles on
        points, cpu_s = arrivals.points, _cpu_s(program)
        time.sleep(CPU_S)
        return (arrivals.points - points) / (_cpu_s(program) - cpu_s)


@contextmanager
def _running(
    name: str, units: int, tags: int, tick_s: float, arrivals: Arrivals, without: int | None = None
) -> Iterator[tuple[Program, Broker, Any]]:
    """A served plant and one side polling it; gives program, broker and the ticks' times."""
    with tempfile.TemporaryDirectory() as made:
        folder, port = Path(made), free_port()
        write_config(folder / "served.json", units, port, PERIOD_S, tags, without)
        write_config(folder / "asked.json", units, port, PERIOD_S, tags)
        with (
            serving(folder / "served.json", tick_s, PHASE_S) as times,
            SIDES[name](folder, folder / "asked.json", port, units, tags, arrivals.take) as (program, broker),
        ):
            yield program, broker, times


def _cpu_s(program: Program) -> float:
    """User and system time of the program so far; neither has children."""
    times = psutil.Process(program.pid).cpu_times()
    return float(times.user + times.system)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing arrived within {START_S:.0f} s")
        time.sleep(0.1)


# --- faults: each returns when it is over, and the moments between which nobody could read the plant -------

Away = tuple[float, float]
NOBODY: Away = (math.inf, math.inf)


def _broker_away(_program: Program, broker: Broker, _arrivals: Arrivals, _times: Any) -> Away:
    broker.stop()
    time.sleep(AWAY_S)
    broker.start()
    return NOBODY


def _kill(program: Program, _broker: Broker, arrivals: Arrivals, times: Any) -> Away:
    killed_s = time.time()
    program.kill()
    time.sleep(PERIOD_S)
    last = sum(shown_s > 0 for shown_s in times)
    program.start()
    _until(lambda: arrivals.newest >= last)
    return killed_s, time.time()


def _missing(_program: Program, _broker: Broker, _arrivals: Arrivals, _times: Any) -> Away:
    return NOBODY


FAULTS: dict[str, Callable[[Program, Broker, Arrivals, Any], Away]] = {
    "broker away": _broker_away,
    "kill -9": _kill,
    "missing register": _missing,
}


def _under(fault: str, name: str) -> tuple[Arrivals, int]:
    """What arrived, and how many numbers did not that should have."""
    arrivals = Arrivals()
    without = MISSING_TAG if fault == "missing register" else None
    with _running(name, FAULT_UNITS, FAULT_TAGS, FAULT_TICK_S, arrivals, without) as running:
        program, broker, times = running
        _until(lambda: bool(arrivals.seen))
        began_s = time.time()
        time.sleep(CALM_S)
        away = FAULTS[fault](program, broker, arrivals, times)
        time.sleep(CALM_S)
        ended_s = time.time()
        time.sleep(AFTER_S)  # for what is still on its way
        shown = list(times)
    expected = {
        tick
        for tick, (start_s, end_s) in enumerate(pairwise(shown))
        if began_s <= start_s < end_s <= ended_s and (end_s <= away[0] or away[1] <= start_s)
    }
    tags = {f"t{i}" for i in range(FAULT_TAGS) if i != without}
    return arrivals, arrivals.lost(expected, FAULT_UNITS, tags)


if __name__ == "__main__":
    takes_none(__doc__)
    main()
