"""How the agent is doing, for those beside it: `/healthz` and `/metrics`, on loopback.

Enters: counts and vitals from the composition root. Leaves: HTTP answers, and a log line when a problem
begins or ends. Never: a decision about the site.
"""

from edge_agent.health.backlog import BacklogWatch
from edge_agent.health.changes import Changes
from edge_agent.health.judgement import Health, Problem, State, Vitals, judge
from edge_agent.health.metrics import Metrics
from edge_agent.health.server import HealthServer

__all__ = [
    "BacklogWatch",
    "Changes",
    "Health",
    "HealthServer",
    "Metrics",
    "Problem",
    "State",
    "Vitals",
    "judge",
]
