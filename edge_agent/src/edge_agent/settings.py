"""What one agent is told at its start."""

from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.outbox.limits import OutboxLimits
from shared.kafka_client import KafkaClientSettings


@dataclass(frozen=True)
class AgentSettings:
    """Where everything is. Addresses are HOST:PORT; `trust_dir` holds both repositories' root.json;
    `kafka_client` the TLS and SASL settings, none for a broker without them."""

    config: Path
    site: str
    data_dir: Path
    trust_dir: Path
    kafka: str
    fleet: str
    repository: str
    health: str
    kafka_client: KafkaClientSettings = field(default_factory=KafkaClientSettings)
    outbox: OutboxLimits = field(default_factory=OutboxLimits)
