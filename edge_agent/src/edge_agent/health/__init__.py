"""How the agent is doing, for those beside it: `/healthz` and `/metrics`, on loopback.

Enters: counts from the composition root. Leaves: HTTP answers. Never: a decision.
"""

from edge_agent.health.metrics import Metrics
from edge_agent.health.server import Health, HealthServer, State

__all__ = ["Health", "HealthServer", "Metrics", "State"]
