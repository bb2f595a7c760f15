"""The OPC UA source on bad days: a number of its own tag and cycle, or a reason; never anything else.

BAD_DAYS_SEED replays a run; BAD_DAYS_POLLS makes it longer (`make faults-long`: 100,000).
"""

import asyncio
import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from asyncua import ua

from edge_agent.simulation.opcua_bad_answers import BadDay
from edge_agent.simulation.opcua_bad_days import OpcUaBadDays
from edge_agent.simulation.opcua_server import OpcUaPlantServer
from edge_agent.sources.opcua import OpcUaSource
from edge_agent.sources.opcua_connection import OpcUaConnection
from edge_agent.sources.opcua_moments import Moments
from shared.listen import free_port
from shared.opcua_nodes import NAMESPACE_URI
from shared.plant_config import Plant
from shared.reactor_config import Component, parse_fleet
from shared.schemas import ComponentId, Quality, Telemetry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400), pytest.mark.asyncio(loop_scope="module")]

SEED = int(os.environ.get("BAD_DAYS_SEED", secrets.randbelow(2**32)))
POLLS = int(os.environ.get("BAD_DAYS_POLLS", "3000"))
LANES = 20  # agents side by side, so that their timeouts pass together
TIMEOUT_S = 0.2
DELAY_MAX_S = 1.5 * TIMEOUT_S
DOWN_MAX_S = 2 * TIMEOUT_S
TICK_S = 0.04  # of the plant; a poll takes some milliseconds
BROKEN_POLLS, BROKEN_SEED = 1_000, 7  # of a reader that is broken on purpose
BROKEN_RUNS = 10  # at most; on a busy machine most polls of one are too late to read anything
HOST = "127.0.0.1"
TAGS = 3
LIFETIME_PUBLISHES = 50  # instead of 600: the plants soon forget the connections that were lost
READ_SERVICES = {
    "CreateSession", "ActivateSession", "CloseSession", "Read", "CreateSubscription",
    "CreateMonitoredItems", "Publish", "DeleteSubscriptions", "Browse",
}  # fmt: skip


def components() -> dict[ComponentId, Component]:
    """Two components with a cycle counter."""
    tags = {
        f"t{i}": {"unit": "1", "register": {"address": 4 * i + 2, "type": "float64"}} for i in range(TAGS)
    }
    reactor = {"coolant_pump": {"tags": tags}, "heat_exchanger": {"tags": tags}}
    return parse_fleet({"TX01": {"R1": reactor}}, "test").components()


COMPONENTS = components()


def expected(component_id: ComponentId, tag: str, cycle: int) -> float:
    """Different for every component, tag and cycle."""
    return 1e9 * (1 + list(COMPONENTS).index(component_id)) + 1e7 * int(tag[1:]) + cycle


class MovedPlant(OpcUaPlantServer):
    """The same plant after a change: our namespace has another index, and the old one names other numbers."""

    async def _built(self):
        server = await super()._built()
        self._decoys = dict(self._node_ids)
        *before, _ = await server.get_namespace_array()
        await server.nodes.namespace_array.write_value([*before, "urn:somebody:else", NAMESPACE_URI])
        self._namespace += 1
        for component_id in self.components:
            await self._name(server, component_id)
            await self._add(server, component_id)
        return server

    def show(self, component_id, cycle, values):
        super().show(component_id, cycle, values)
        shown, names = self._shown[component_id], self._node_ids
        self._node_ids = self._decoys
        super().show(component_id, cycle, {tag: value + 0.5 for tag, value in values.items()})
        self._shown[component_id], self._node_ids = self._shown[component_id] | shown, names


class Plants:
    """A plant that ticks, before and after it was changed; `served` is a cycle that both have served."""

    def __init__(self) -> None:
        self.servers = [kind(HOST, free_port(), COMPONENTS) for kind in (OpcUaPlantServer, MovedPlant)]
        self.served = 0

    async def tick(self) -> None:
        while True:
            cycle = self.served + 1
            for server in self.servers:
                for component_id, component in COMPONENTS.items():
                    values = {tag: expected(component_id, tag, cycle) for tag in component.tags}
                    server.show(component_id, cycle, values)
            while any(server._shown for server in self.servers):
                await asyncio.sleep(0)
            self.served = cycle
            await asyncio.sleep(TICK_S)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plants() -> AsyncIterator[Plants]:
    found = Plants()
    async with AsyncExitStack() as stack:
        for server in found.servers:
            await stack.enter_async_context(server)
        ticking = asyncio.create_task(found.tick())
        yield found
        ticking.cancel()


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    monkeypatch.setattr("edge_agent.sources.opcua_connection.LIFETIME_PUBLISHES", LIFETIME_PUBLISHES)


@dataclass
class Tally:
    """What a run brought."""

    polls: int = 0
    good: int = 0
    wrong: list[str] = field(default_factory=list)
    reasons: Counter[Quality] = field(default_factory=Counter)
    happened: Counter[BadDay] = field(default_factory=Counter)
    services: Counter[str] = field(default_factory=Counter)

    def take(self, reading: Telemetry, served: int) -> None:
        """Check one poll's record against the plant, which had served `served` when the poll began."""
        tags = COMPONENTS[reading.component_id].tags
        told = [*reading.metrics, *reading.quality]
        if sorted(told) != sorted(tags):
            self.wrong.append(f"cycle {served} {reading.key}: tags {told}")
        if reading.metrics and (reading.cycle is None or reading.cycle < served):
            self.wrong.append(f"cycle {served} {reading.key}: stale, of {reading.cycle}")
        for tag, value in reading.metrics.items():
            self.good += 1
            right = expected(reading.component_id, tag, reading.cycle or 0)
            if value != right:
                self.wrong.append(
                    f"cycle {reading.cycle} {reading.key} {tag}: misattributed {value - right:g}"
                )
        self.reasons.update(reading.quality.values())


async def run(plants: Plants, polls: int, seed: int) -> Tally:
    """`polls` polls in LANES agents, each behind a wire of its own with bad days from `seed` on."""
    print(f"BAD_DAYS_SEED={seed} replays this run")  # noqa: T201 - pytest shows it when the test fails
    tally, lanes = Tally(), []
    async with AsyncExitStack() as stack:
        for number in range(LANES):
            address, behind = (HOST, free_port()), [(HOST, server.port) for server in plants.servers]
            wire = OpcUaBadDays(
                address, behind, seed + number, delay_max_s=DELAY_MAX_S, down_max_s=DOWN_MAX_S
            )
            await stack.enter_async_context(wire)
            plant = Plant(protocol="opc_ua", port=address[1], poll_period_s=TIMEOUT_S, timeout_s=TIMEOUT_S)
            source = await stack.enter_async_context(OpcUaSource("TX01", plant, COMPONENTS))
            lanes.append((wire, source))
        await asyncio.gather(*(poll(plants, source, polls // LANES, tally) for _, source in lanes))
    for wire, _ in lanes:
        tally.happened += wire.happened
        tally.services += wire.services
    counts = {"polls": tally.polls, "good": tally.good} | {str(q): n for q, n in tally.reasons.items()}
    print(counts, {str(day): n for day, n in tally.happened.items()})  # noqa: T201 - the counts are the result
    return tally


async def poll(plants: Plants, source: OpcUaSource, polls: int, tally: Tally) -> None:
    """Poll without a rest, and check what was read."""
    for _ in range(polls):
        served = plants.served
        readings = await source.read()
        tally.polls += 1
        for reading in readings:
            tally.take(reading, served)
        if not any(reading.metrics for reading in readings):
            await asyncio.sleep(TICK_S)  # it may have been refused at once


async def test_every_tag_has_its_own_number_of_this_cycle_or_a_reason(plants):
    """Polls with every bad day at random: misattributed 0, stale as good 0, every gap marked; only
    services that read on the wire."""
    tally = await run(plants, POLLS, SEED)
    assert tally.wrong == []
    assert tally.services.keys() <= READ_SERVICES
    assert tally.happened.keys() == set(BadDay)
    expected_reasons = {Quality.DEVICE_EXCEPTION, Quality.TIMEOUT, Quality.DISCONNECTED, Quality.STALE}
    assert expected_reasons <= tally.reasons.keys()
    assert tally.polls == POLLS
    assert tally.good > POLLS // 10  # on a busy machine most answers come too late


class TrustingMoments(Moments):
    """Takes the newest value of each variable, whatever moment it is of."""

    def newest_whole(self, since):
        return self.newest if self.newest.keys() >= self._names else None


class StubbornConnection(OpcUaConnection):
    """Looks the namespaces up once."""

    known: dict[int, ua.NodeId] | None = None

    def _found(self, namespaces):
        self.known = self.known or super()._found(namespaces)
        return self.known


class WritingConnection(OpcUaConnection):
    """Writes a variable when it has connected."""

    async def _subscribe(self, client):
        with suppress(ua.UaError, TimeoutError, OSError):
            await client.get_node(self._node_ids[1]).write_value(7.0)
        await super()._subscribe(client)


@pytest.mark.parametrize(
    ("name", "broken", "told"),
    [("Moments", TrustingMoments, "stale"), ("OpcUaConnection", StubbornConnection, "misattributed 0.5")],
)
async def test_source_that_trusts_too_much_is_found_out(plants, monkeypatch, name, broken, told):
    """The oracle can fail: values of another cycle, or of the namespace that has the old index, are seen."""
    monkeypatch.setattr(f"edge_agent.sources.opcua.{name}", broken)
    for more in range(BROKEN_RUNS):
        tally = await run(plants, BROKEN_POLLS, BROKEN_SEED + more)
        if any(told in wrong for wrong in tally.wrong):
            return
    pytest.fail(f"{name} was not found out: {told!r} was not among what was wrong")


async def test_source_that_writes_is_found_out(plants, monkeypatch):
    """The record of the wire can fail: a write in a copy of the adapter is on it."""
    monkeypatch.setattr("edge_agent.sources.opcua.OpcUaConnection", WritingConnection)
    tally = await run(plants, LANES, BROKEN_SEED)
    assert tally.services.keys() - READ_SERVICES == {"Write"}
