"""The one durability line: what is committed here survives power loss until Kafka has it.

Enters: the records of one poll, committed together. Leaves: pending rows in order, to the forwarder;
the leaves of the audit log, to rebuild it at start. Never: Kafka, the network, what a record means.
"""

from edge_agent.outbox.gaps import Loss
from edge_agent.outbox.limits import OutboxLimits, WhenFull
from edge_agent.outbox.outbox import Outbox
from edge_agent.outbox.rows import Row
from edge_agent.outbox.store import Incident, OutboxStore, Replaced, Stats

__all__ = [
    "Incident",
    "Loss",
    "Outbox",
    "OutboxLimits",
    "OutboxStore",
    "Replaced",
    "Row",
    "Stats",
    "WhenFull",
]
