"""Outbox rows to Kafka, in order per component; a row is done when its delivery report says so.

Enters: pending rows of the outbox. Leaves: Kafka messages, acknowledgements back to the outbox, dead
letters for what the broker can never take. Never: a row acknowledged on anything but a delivery report.
"""

from edge_agent.forward.forwarder import Backlog, Forwarder

__all__ = ["Backlog", "Forwarder"]
