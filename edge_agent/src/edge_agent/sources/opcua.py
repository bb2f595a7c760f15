"""A site's controllers over OPC UA, read only: Read and Subscribe, and the session that they need."""

import math
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Self

from asyncua import ua

from edge_agent.sources.base import judged
from edge_agent.sources.opcua_connection import NotAnswered, OpcUaConnection
from edge_agent.sources.opcua_moments import Moments, number
from shared.opcua_certificates import load_credentials
from shared.opcua_nodes import COUNTER, parse_node
from shared.plant_config import Plant
from shared.reactor_config import Component
from shared.schemas import ComponentId, Quality, Telemetry, utc_now

CLOCK_OFF_S_MAX = 60.0  # a SourceTimestamp further from our clock is a wrong clock, not a source time


class OpcUaSource:
    """Keeps every tag subscribed; a poll reads the cycle counters and gives what belongs to them.

    A tag is good when it was published with the SourceTimestamp of its component's cycle counter, and
    the counter is what the server said in this very poll, or newer: no tag of another cycle, nothing
    that a dead connection left behind. The rest is STALE. Source time is that SourceTimestamp. A
    component without a counter gives the newest value of each tag that this connection brought.
    """

    def __init__(self, site_id: str, plant: Plant, components: Mapping[ComponentId, Component]) -> None:
        self.site_id = site_id
        self._components, self._security = dict(components), plant.secured
        nodes = {component_id: c.node_ids(component_id) for component_id, c in components.items()}
        self._variables = [(component_id, name) for component_id in nodes for name in nodes[component_id]]
        self._moments = {component_id: Moments(nodes[component_id]) for component_id in components}
        self._given: dict[ComponentId, datetime | None] = {}
        self._connection = OpcUaConnection(
            f"opc.tcp://{plant.host}:{plant.port}/",
            plant.poll_period_s,
            plant.timeout_s,
            plant.secured,
            [parse_node(nodes[component_id][name]) for component_id, name in self._variables],
            [handle for handle, (_, name) in enumerate(self._variables) if name == COUNTER],
            self._put,
            self._forget,
        )

    async def __aenter__(self) -> Self:
        """ConfigError when what secures the connection cannot be read."""
        if self._security is not None:
            load_credentials(self._security)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.close()

    async def read(self) -> list[Telemetry]:
        """One poll. It raises for no state of the plant; what could not be read has bad quality.

        Takes at most `timeout_s` to connect, to ask and to wait for what was not yet published, each.
        """
        try:
            answers = await self._connection.ask()
        except NotAnswered as failure:
            return [self._without_numbers(c, failure.quality) for c in self._components]
        counters = {self._variables[handle][0]: value for handle, value in answers.items()}
        await self._connection.wait_until(
            lambda: all(self._arrived(c, counters.get(c)) for c in self._components)
        )
        return [self._reading(c, counters.get(c)) for c in self._components]

    def _forget(self) -> None:
        for moments in self._moments.values():
            moments.clear()

    def _put(self, handle: int, value: ua.DataValue) -> None:
        component_id, name = self._variables[handle]
        self._moments[component_id].put(name, value)

    def _arrived(self, component_id: ComponentId, counter: ua.DataValue | None) -> bool:
        """Whether waiting could bring nothing better."""
        moments = self._moments[component_id]
        if counter is None:
            return moments.newest.keys() >= self._components[component_id].tags.keys()
        unreadable = isinstance(_cycle(counter), Quality)
        return unreadable or moments.newest_whole(counter.SourceTimestamp) is not None

    def _reading(self, component_id: ComponentId, counter: ua.DataValue | None) -> Telemetry:
        moments = self._moments[component_id]
        if counter is None:
            return self._judged(component_id, moments.newest, None)
        whole = moments.newest_whole(counter.SourceTimestamp)
        values = {COUNTER: counter} | (moments.at(counter.SourceTimestamp) if whole is None else whole)
        cycle = _cycle(values[COUNTER])
        if isinstance(cycle, Quality):
            return self._without_numbers(component_id, cycle)  # nothing says which cycle a tag is of
        return self._judged(component_id, values, cycle)

    def _judged(
        self, component_id: ComponentId, values: Mapping[str, ua.DataValue], cycle: int | None
    ) -> Telemetry:
        component = self._components[component_id]
        read = {name: number(values[name]) if name in values else Quality.STALE for name in component.tags}
        moment = None if cycle is None else values[COUNTER].SourceTimestamp
        return judged(component_id, component, self._source_time(component_id, moment), cycle, read)

    def _without_numbers(self, component_id: ComponentId, quality: Quality) -> Telemetry:
        component = self._components[component_id]
        return judged(component_id, component, utc_now(), None, dict.fromkeys(component.tags, quality))

    def _source_time(self, component_id: ComponentId, moment: datetime | None) -> datetime:
        """The device's own time of a new cycle; a repeated one is an observation of now."""
        now = utc_now()
        repeated, self._given[component_id] = self._given.get(component_id) == moment, moment
        if moment is None or repeated or abs((now - moment).total_seconds()) > CLOCK_OFF_S_MAX:
            return now
        return moment


def _cycle(counter: ua.DataValue) -> int | Quality:
    """The device's cycle, or why there is none; what is no count has no cycle either."""
    value = number(counter)
    if isinstance(value, Quality):
        return value
    return int(value) if math.isfinite(value) and value >= 0 else Quality.DEVICE_EXCEPTION
