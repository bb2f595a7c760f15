"""What one agent is told at its start."""

from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.outbox.limits import OutboxLimits


@dataclass(frozen=True)
class AgentSettings:
    """Where everything is. Addresses are HOST:PORT; `trust_dir` holds both repositories' root.json."""

    config: Path
    site: str
    data_dir: Path
    trust_dir: Path
    kafka: str
    fleet: str
    repository: str
    health: str
    outbox: OutboxLimits = field(default_factory=OutboxLimits)
