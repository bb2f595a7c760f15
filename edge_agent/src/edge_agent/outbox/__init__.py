"""The one durability line: what is committed here survives power loss until Kafka has it.

Enters: the records of one poll, committed together. Leaves: pending rows in order, to the forwarder;
the leaves of the audit log, to rebuild it at start. Never: Kafka, the network, what a record means.
"""

from edge_agent.outbox.outbox import Outbox
from edge_agent.outbox.store import OutboxStore, Row, Stats

__all__ = ["Outbox", "OutboxStore", "Row", "Stats"]
