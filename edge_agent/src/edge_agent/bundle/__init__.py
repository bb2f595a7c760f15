"""The outbox as signed files, for a site that no network reaches.

Enters: the outbox file, read only, while the agent goes on writing it. Leaves: whole bundles in a folder.
Never: an acknowledgement (Kafka may bring the same rows), half a bundle under its final name.
"""

from edge_agent.bundle.export import Exported, Signer, export
from edge_agent.bundle.outbox_file import OutboxFile

__all__ = ["Exported", "OutboxFile", "Signer", "export"]
