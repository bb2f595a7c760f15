"""The plant that stands in for a real one until there is one: physics, recordings, Modbus TCP, OPC UA.

Enters: a component's configuration and a seed, or recorded CSV files. Leaves: telemetry rows with
their labels apart, served as a real device would serve them. Never: the agent's own parts; what is
served here is read back through `sources/` like any plant.
"""

from edge_agent.simulation.generators import ReactorSimulator

__all__ = ["ReactorSimulator"]
