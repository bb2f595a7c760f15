"""What many tests share: one real broker for the whole run."""

from collections.abc import Iterator

import pytest

from tests.support.kafka import KafkaBroker, running_kafka
from tests.support.kafka_tls import authority, listener_settings


@pytest.fixture(scope="session")
def kafka_of_the_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """Started once, for the first test that asks; with a listener behind TLS and a password too."""
    folder = tmp_path_factory.mktemp("kafka")
    authority(folder)
    address, listener = listener_settings(folder)
    with running_kafka(folder, settings=listener, secure=address) as broker:
        yield broker


@pytest.fixture
def kafka(kafka_of_the_run: KafkaBroker) -> KafkaBroker:
    """A running broker with empty topics; a test that harms it leaves it running again."""
    kafka_of_the_run.reset()
    return kafka_of_the_run
