"""Predictions and events to the site's transparency log (RFC 6962, C2SP checkpoints).

Enters: what happened. Leaves: entries in order, and signed checkpoints over them.
Never: storage (an entry becomes durable with the records it speaks of, in the outbox).
"""

from edge_agent.audit.clock import clock_state
from edge_agent.audit.log import AuditLog, origin

__all__ = ["AuditLog", "clock_state", "origin"]
