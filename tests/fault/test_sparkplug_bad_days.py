"""The Sparkplug B source on bad days: a number of its own tag and cycle, or a reason; never anything else.

Each lane is an edge node, a real broker, a wire and a source. BAD_DAYS_SEED replays the draws of a run,
BAD_DAYS_POLLS makes it longer (`make faults-long`: 100,000).
"""

import asyncio
import math
import os
import secrets
import threading
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field

import pytest

from edge_agent.simulation.sparkplug_bad_days import BAD_SHARE, MessageDay, SparkplugBadDays
from edge_agent.sources import FreshnessGuard
from edge_agent.sources.sparkplug import SparkplugSource, _Device
from shared import sparkplug
from shared.listen import free_port
from shared.plant_config import Plant
from shared.reactor_config import Component, parse_fleet
from shared.schemas import ComponentId, Quality, Telemetry
from tests.support.mosquitto import mosquitto
from tests.support.mqtt_wire import PUBLISH, READ_ONLY, MqttWire

SEED = int(os.environ.get("BAD_DAYS_SEED", secrets.randbelow(2**32)))
POLLS = int(os.environ.get("BAD_DAYS_POLLS", "3000"))
LANES = 8  # every other one tells its metrics by alias alone
WIRE_SHARE = 0.02  # of what the broker sends
RESTARTS = 2  # of each lane's broker
BROKEN_POLLS, BROKEN_SEED = 2_000, 7  # of a reader that is broken on purpose
RECONNECT_S = 0.02, 0.1
SETTLES_WITHIN_S, AWAY_S = 0.05, 0.003
SITE, MARKER = "TX01", "marker"


def components() -> dict[ComponentId, Component]:
    tags = {f"t{i}": {"unit": "1", "register": {"address": 2 + 4 * i, "type": "float64"}} for i in range(12)}
    parts = {name: {"type": "coolant_pump", "tags": tags} for name in ("pump_1", "pump_2")}
    return parse_fleet({SITE: {"R1": parts}}, "test").components()


COMPONENTS = components()


def expected(component_id: ComponentId, tag: str, cycle: int) -> float:
    """Different for every device, tag and third cycle: the others say that it has not changed."""
    index = int(tag[1:])
    return float(10_000 * (cycle - (cycle + index) % 3) + 100 * COMPONENTS[component_id].unit + index)


Stamp = tuple[int, float, float]  # session, life of the device in it, cycle; infinity: dead


class Node(SparkplugBadDays):
    """Remembers what each message is worth, so that one that has come makes everything before it old."""

    def __init__(self, *args, **more) -> None:
        self.session, self.lives = 0, Counter()
        self.sessions: dict[int, int] = {}  # the newest by bdSeq
        self.stamps: dict[bytes, tuple[str, Stamp]] = {}  # by body: device, '' for all
        self.deaths: dict[bytes, int] = {}  # bdSeq by body
        self._stamp: tuple[str, Stamp] | None = None
        super().__init__(*args, **more)

    def _death(self) -> bytes:
        body = super()._death()
        self.deaths[body] = self._bd_seq
        return body

    def _give_birth(self) -> None:
        self.session += 1
        self.lives.clear()
        self.sessions[self._bd_seq] = self.session
        super()._give_birth()

    def _send(self, topic, body) -> None:
        self._stamp = None
        if topic.kind == "NBIRTH":
            cycle = min((cycle for cycle, _ in self._shown.values()), default=0)
            self._stamp = "", (self.session, 0, cycle)
        elif body in self.deaths:
            self._stamp = "", (self.session, math.inf, math.inf)
        elif topic.device:
            self.lives[topic.device] += topic.kind == "DBIRTH"
            component_id = next(i for i in COMPONENTS if sparkplug.device(i) == topic.device)
            cycle = math.inf if topic.kind == "DDEATH" else self._shown[component_id][0]
            self._stamp = topic.device, (self.session, self.lives[topic.device], cycle)
        super()._send(topic, body)

    def _broken(self, day, body) -> bytes:
        sent = super()._broken(day, body)
        if self._stamp is not None and len(sent) > 12:  # a shorter piece is no message of its own
            self.stamps[sent] = self._stamp
        return sent

    def worth(self, kind: str, body: bytes) -> tuple[str, Stamp] | None:
        if kind == "NDEATH" and body not in self.stamps and body in self.deaths:  # a last will
            return "", (self.sessions.get(self.deaths[body], 0), math.inf, math.inf)
        return self.stamps.get(body)


@dataclass
class Tally:
    """What a run brought."""

    polls: int = 0
    good: int = 0
    wrong: list[str] = field(default_factory=list)
    reasons: Counter[Quality] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)
    packets: Counter[int] = field(default_factory=Counter)
    wills: int = 0
    silences_marked: int = 0


class Lane:
    """One site: a node, its broker, the wire to the agent, and the agent's source."""

    def __init__(self, number: int, seed: int, folder, source_class) -> None:
        self.folder, self.broker_port = folder, free_port()
        self.broker = ExitStack()
        self.wire = MqttWire(self.broker_port, seed=seed + number)
        self.node = Node(
            SITE,
            Plant(protocol="sparkplug_b", port=self.broker_port),
            COMPONENTS,
            seed + number,
            share=0.0,
            aliased=bool(number % 2),
        )
        self.node._client.reconnect_delay_set(*RECONNECT_S)
        self.source_class, self.loop = source_class, asyncio.get_running_loop()
        self.guards = FreshnessGuard()
        self.floors: dict[ComponentId, Stamp] = dict.fromkeys(COMPONENTS, (0, 0, 0))
        self.lock, self.connected, self.connections = threading.Lock(), False, 0
        self.marked, self.mark = -1, asyncio.Event()

    async def __aenter__(self) -> "Lane":
        await self.start_broker()
        await self.wire.__aenter__()
        plant = Plant(protocol="sparkplug_b", port=self.wire.port)
        self.source = self.source_class(SITE, plant, COMPONENTS)
        self.listen()
        await self.source.__aenter__()
        return self

    async def __aexit__(self, *_) -> None:
        await self.source.__aexit__(None, None, None)
        await self.wire.__aexit__()
        await asyncio.to_thread(self.broker.close)

    async def start_broker(self) -> None:
        await asyncio.to_thread(self.broker.enter_context, mosquitto(self.folder, self.broker_port))

    def listen(self) -> None:
        """Know what the source has been told, and when it was connected, without altering either."""
        client, source = self.source._client, self.source
        client.reconnect_delay_set(*RECONNECT_S)
        on_connect, on_disconnect, on_message = client.on_connect, client.on_disconnect, client.on_message

        def connect(client_, *args) -> None:
            self.connected, self.connections = True, self.connections + 1
            on_connect(client_, *args)
            client_.subscribe(MARKER)

        def disconnect(*args) -> None:
            on_disconnect(*args)
            self.connected = False

        def message(client_, data, message_) -> None:
            if message_.topic == MARKER:
                self.marked = int(message_.payload)
                self.loop.call_soon_threadsafe(self.mark.set)
                return
            on_message(client_, data, message_)
            worth = self.node.worth(message_.topic.split("/")[2], bytes(message_.payload))
            if worth is not None:
                self.raise_floor(*worth)

        assert source._client is client
        client.on_connect, client.on_disconnect, client.on_message = connect, disconnect, message

    def raise_floor(self, device: str, stamp: Stamp) -> None:
        for component_id in COMPONENTS:
            if device in ("", sparkplug.device(component_id)):
                self.floors[component_id] = max(self.floors[component_id], stamp)

    def show(self, cycle: int) -> None:
        for component_id, component in COMPONENTS.items():
            self.node.show(component_id, cycle, {t: expected(component_id, t, cycle) for t in component.tags})

    async def settle(self, cycle: int) -> None:
        """Until the source has heard what the node has said, or one of the two is away."""
        if not (self.connected and self.node._born):
            await asyncio.sleep(AWAY_S)
            return
        self.node._client.publish(MARKER, str(cycle))
        try:
            async with asyncio.timeout(SETTLES_WITHIN_S):
                while self.marked < cycle:
                    self.mark.clear()
                    await self.mark.wait()
        except TimeoutError:
            pass

    async def poll(self, cycle: int, tally: Tally) -> None:
        self.show(cycle)
        await self.settle(cycle)
        floors, away, connections = dict(self.floors), not self.connected, self.connections
        readings = await self.source.read()
        away = away and not self.connected and connections == self.connections
        tally.polls += 1
        if sorted(r.component_id for r in readings) != sorted(COMPONENTS):
            tally.wrong.append(f"cycle {cycle}: components {[r.key for r in readings]}")
        for reading in readings:
            self.judge(reading, floors[reading.component_id], away, cycle, tally)

    def judge(self, reading: Telemetry, floor: Stamp, away: bool, now: int, tally: Tally) -> None:
        """Check one poll's record against what the node's cycle was, and what had come before the poll."""
        place = f"at {now} {reading.key} cycle {reading.cycle}"
        told = [*reading.metrics, *reading.quality]
        if sorted(told) != sorted(COMPONENTS[reading.component_id].tags):
            tally.wrong.append(f"{place}: unmarked, tags {told}")
        if reading.metrics:
            if away or floor[2] == math.inf:
                tally.wrong.append(f"{place}: stale, {'disconnected' if away else 'dead'}")
            elif reading.cycle is None or reading.cycle < floor[2]:
                tally.wrong.append(f"{place}: stale, {floor[2]} had come")
        for tag, value in reading.metrics.items():
            tally.good += 1
            right = math.nan if reading.cycle is None else expected(reading.component_id, tag, reading.cycle)
            if value != right:
                own = (value - expected(reading.component_id, tag, 0)) % 10_000 == 0
                kind = "stale, its own of another cycle" if own else "misattributed"
                tally.wrong.append(f"{place} {tag}: {value}, not {right}: {kind}")
        passed = self.guards.check(reading)
        tally.silences_marked += passed is not None and bool(reading.metrics) and not passed.metrics
        tally.reasons.update(reading.quality.values())

    async def run(self, polls: int, tally: Tally) -> None:
        await self.until(lambda: self.connected)
        await asyncio.sleep(0.05)
        async with self.node:
            cycle = 0
            async with asyncio.timeout(60):  # whole before the first bad day
                while not all(r.metrics for r in await self.source.read()):
                    cycle += 1
                    self.show(cycle)
                    with self.node._lock:
                        self.node._give_birth()
                    await self.settle(cycle)
            self.node.share, self.wire.share = BAD_SHARE, WIRE_SHARE
            restarts = {polls * (n + 1) // (RESTARTS + 1) for n in range(RESTARTS)}
            for number in range(polls):
                if number in restarts:
                    await asyncio.to_thread(self.broker.close)
                    tally.happened["broker restart"] += 1
                if number - 5 in restarts:  # five polls without one
                    await self.start_broker()
                cycle += 1
                await self.poll(cycle, tally)
            if any(number > polls - 6 for number in restarts):
                await self.start_broker()
        tally.happened.update(self.node.happened)
        tally.happened.update(self.wire.happened)
        tally.packets += self.wire.packets
        tally.wills += self.wire.wills

    async def until(self, holds) -> None:
        async with asyncio.timeout(60):
            while not holds():
                await asyncio.sleep(0.005)


async def run(polls: int, seed: int, folder, source_class=SparkplugSource) -> Tally:
    """`polls` polls over LANES sites, each with bad days of its own from `seed` on."""
    print(f"BAD_DAYS_SEED={seed} replays this run")  # noqa: T201 - pytest shows it when the test fails
    tally = Tally()
    async with AsyncExitStack() as stack:
        lanes = [
            await stack.enter_async_context(Lane(number, seed, folder, source_class))
            for number in range(LANES)
        ]
        await asyncio.gather(*(lane.run(polls // LANES, tally) for lane in lanes))
    print(tally.polls, tally.good, tally.reasons, tally.happened, tally.packets, tally.silences_marked)  # noqa: T201 - the counts are the result
    return tally


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_every_tag_has_its_own_number_of_its_cycle_or_a_reason(tmp_path):
    """Polls with every bad day at random: misattributed 0, stale as good 0, every gap marked; no
    publication and no last will on the wire."""
    tally = await run(POLLS, SEED, tmp_path)
    assert tally.wrong == []
    assert tally.packets.keys() <= READ_ONLY
    assert tally.wills == 0
    assert tally.happened.keys() == {*MessageDay, "jitter", "pause", "reset", "broker restart"}
    assert tally.reasons.keys() >= {
        Quality.DISCONNECTED,
        Quality.STALE,
        Quality.NOT_A_NUMBER,
        Quality.NO_BIRTH,
        Quality.TIMEOUT,
    }
    assert tally.silences_marked > 0
    assert tally.good > 0.4 * (tally.good + tally.reasons.total())


class TakesWhateverComes(SparkplugSource):
    """Takes no notice of the sequence."""

    def _take(self, topic, payload):
        self._next = None
        super()._take(topic, payload)


class DeafToDeath(SparkplugSource):
    """Takes no notice of a node's death."""

    def _take_death(self, bd_seq):
        pass


class AsksForBirths(SparkplugSource):
    """Publishes, as a host application would."""

    def _on_connect(self, client, *args):
        super()._on_connect(client, *args)
        client.publish(f"spBv1.0/pm-stack-smr/NCMD/{SITE}", b"")


@pytest.mark.slow
@pytest.mark.parametrize("source_class", [TakesWhateverComes, DeafToDeath])
async def test_source_that_shows_what_was_is_found_out(tmp_path, source_class):
    """The oracle can fail: a late message, or a dead node's number, is seen as stale."""
    tally = await run(BROKEN_POLLS, BROKEN_SEED, tmp_path, source_class)
    assert any("stale" in wrong for wrong in tally.wrong)


@pytest.mark.slow
async def test_source_that_keeps_aliases_of_before_is_found_out(tmp_path, monkeypatch):
    """The oracle can fail: an alias of a birth before names another tag."""
    lose = _Device.lose

    def keeping(device, why):
        names = dict(device.names)
        lose(device, why)
        device.names.update(names)

    monkeypatch.setattr(_Device, "lose", keeping)
    tally = await run(BROKEN_POLLS, BROKEN_SEED, tmp_path)
    assert any("misattributed" in wrong for wrong in tally.wrong)


async def test_source_that_publishes_is_found_out(tmp_path):
    """The record of the wire can fail: a request for a birth in a copy of the adapter is on it."""
    tally = await run(2 * LANES, BROKEN_SEED, tmp_path, AsksForBirths)
    assert PUBLISH in tally.packets
