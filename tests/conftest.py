"""What many tests share: one real broker for the whole run, and tests beside each other on every core."""

import gc
import os
import sys
from collections.abc import Iterator

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from shared import collector, listen
from tests.support.kafka import KafkaBroker, running_kafka
from tests.support.kafka_tls import authority, listener_settings

# Beginnings of files whose tests share what costs many seconds to start, or ports that a person knows.
TOGETHER = (
    "test_kafka",
    "test_fault_table",
    "test_demo_rollback",  # by itself: it needs nothing of the other demos
    "test_demo",
    "test_opcua_security",
    "test_console",
    "test_release_commands",
    "test_workflow_registry",
    "test_workflow_training",
    "e2e/test_viewer",
    "test_report",
)


def pytest_configure() -> None:
    """Each process of a parallel run looks for free ports in a part of its own: none takes another's; and it
    calculates on one thread: more threads than cores spin for nothing."""
    gc.disable()  # until all is imported
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        own, processes = int(worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        listen.LISTEN_PORTS = listen.LISTEN_PORTS[own::processes]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a parallel run the longest tests start first, so that none is left to end alone."""
    if hasattr(config, "workerinput"):
        items.sort(key=_length, reverse=True)


def pytest_collection_finish() -> None:
    """From here on garbage is looked for, as the programs do it: the millions of objects that imports made,
    looked through again and again, took a quarter of the time of some tests."""
    collector.settle()
    gc.enable()
    if "asyncua" in sys.modules:
        from tests.support.opcua_nodes import make_standard_nodes_once

        make_standard_nodes_once()


def pytest_unconfigure() -> None:
    """What was kept out of sight is let go; else a library says that it leaks."""
    gc.unfreeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Whoever is idle takes the next test."""
    return Together(config, log)


class Together(LoadScopeScheduling):
    """Each test goes where there is room, but these files' to one process each."""

    def _split_scope(self, nodeid: str) -> str:
        return next((name for name in TOGETHER if f"/{name}" in nodeid), nodeid)


def _length(item: pytest.Item) -> float:
    """What sorts tests by how long they may take: a deadline of their own, then `slow`."""
    own = item.get_closest_marker("timeout")
    return own.args[0] if own else float(item.get_closest_marker("slow") is not None)


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
