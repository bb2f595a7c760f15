"""The smallest source: a simulator polled directly, without a wire (PRD 2.1)."""

import asyncio
import random
import time
from types import TracebackType
from typing import Any, Self

from edge_agent.simulation.generators import ReactorSimulator
from edge_agent.sources.base import judged
from shared.schemas import Telemetry, utc_now


class MockModbusAdapter:
    """Polls `ReactorSimulator.simulate_cycle()`, once a poll.

    The `read_*` methods belong to one poll until a quantity is asked for the second time; that begins
    the next. Each answer takes `latency_s` plus up to `jitter_s` at random.
    """

    def __init__(self, simulator: ReactorSimulator, latency_s: float = 0.0, jitter_s: float = 0.0) -> None:
        self._simulator = simulator
        self._latency_s, self._jitter_s = latency_s, jitter_s
        self._row: dict[str, Any] = {}
        self._asked: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def read(self) -> list[Telemetry]:
        """One poll of the simulated component, with every tag."""
        await asyncio.sleep(self._delay_s())
        row = self._simulator.simulate_cycle()
        component = self._simulator.config
        values = {tag: row[tag] for tag in component.tags}
        return [judged(self._simulator.component_id, component, utc_now(), row["cycle"], values)]

    def read_temperature(self) -> float:
        """Outlet temperature, degC."""
        return self._tag("temperature_out")

    def read_pressure(self) -> float:
        """Pressure difference, kPa."""
        return self._tag("pressure_drop")

    def read_flow_rate(self) -> float:
        """Mass flow, kg/s."""
        return self._tag("flow_rate")

    def read_vibration(self) -> float:
        """Casing vibration velocity, mm/s; ValueError for a component that has none."""
        return self._tag("vibration_rms")

    def inject_fault(self, fault_type: str, **settings: Any) -> None:
        """See `ReactorSimulator.inject_fault`; it takes the same settings and raises the same errors."""
        self._simulator.inject_fault(fault_type, **settings)

    def _tag(self, tag: str) -> float:
        component = self._simulator.config
        if tag not in component.tags:
            raise ValueError(f"{component.type} has no {tag}; its tags are {', '.join(component.tags)}")
        time.sleep(self._delay_s())
        if tag in self._asked or not self._row:
            self._row, self._asked = self._simulator.simulate_cycle(), set()
        self._asked.add(tag)
        return float(self._row[tag])

    def _delay_s(self) -> float:
        return self._latency_s + random.uniform(0.0, self._jitter_s)  # noqa: S311 - not a secret
