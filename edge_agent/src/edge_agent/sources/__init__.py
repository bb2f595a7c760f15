"""A plant's controllers -> readings: value, quality, source time; one adapter a protocol.

Enters: registers as a device sends them. Leaves: one `Telemetry` per component and poll, always,
good or bad. Never: a write towards the plant, a number for a tag that could not be read.
"""

from edge_agent.sources.base import Source
from edge_agent.sources.freshness import FreshnessGuard
from edge_agent.sources.mock import MockModbusAdapter
from edge_agent.sources.modbus import ModbusSource

__all__ = ["FreshnessGuard", "MockModbusAdapter", "ModbusSource", "Source"]
