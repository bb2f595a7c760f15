"""What many tests share: one real broker for the whole run."""

from collections.abc import Iterator

import pytest

from tests.support.kafka import KafkaBroker, running_kafka


@pytest.fixture(scope="session")
def kafka_of_the_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """Started once, for the first test that asks."""
    with running_kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture
def kafka(kafka_of_the_run: KafkaBroker) -> KafkaBroker:
    """A running broker with empty topics; a test that harms it leaves it running again."""
    kafka_of_the_run.reset()
    return kafka_of_the_run
