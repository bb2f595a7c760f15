"""Outbox rows to Kafka, in order per component; a row is done when its delivery report says so.

Enters: pending rows of the outbox. Leaves: Kafka messages, acknowledgements back to the outbox, dead
letters for what the broker can never take. `publish_telemetry` sends a simulator's
cycles without an outbox. Never: a row acknowledged on anything but a delivery report.
"""

from edge_agent.forward.forwarder import Backlog, Forwarder
from edge_agent.forward.metrics import ForwardCollector, Forwarding
from edge_agent.forward.publish import publish_telemetry

__all__ = ["Backlog", "ForwardCollector", "Forwarder", "Forwarding", "publish_telemetry"]
