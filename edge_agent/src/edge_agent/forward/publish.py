"""A simulator straight to Kafka (PRD 2.2): for a trial without a plant, an agent or an outbox."""

import time
from typing import Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from edge_agent.forward.settings import producer_config
from shared.errors import Retryable
from shared.schemas import Telemetry

DELIVERY_DEADLINE_S = 30.0  # librdkafka tries a record again for so long; then the caller hears of it

log = structlog.get_logger()
