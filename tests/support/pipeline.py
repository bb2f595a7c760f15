"""Outbox, forwarder and ingest in this process, over Kafka's protocol."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from control_plane.ingest.consumer import Ingest
from control_plane.ingest.known_rows import KnownRows
from control_plane.ingest.progress import FILE_NAME, Progress
from control_plane.sinks.arrival import Sink
from control_plane.sinks.lake import LakeReader, LakeWriter
from edge_agent.forward import Forwarder
from edge_agent.outbox import OutboxStore, Row, Stats
from shared.listen import free_port
from shared.schemas import Outgoing, SiteStatus, Telemetry, utc_now
from tests.support.services import running

DEADLINE_S = 60.0
CONFIG_HASH = "c" * 64
T = TypeVar("T")


def until(condition: Callable[[], bool]) -> None:
    """Wait for it; fail when it does not come true in time."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def telemetry(cycle: int, component: str = "coolant_pump") -> Outgoing:
    """One reading."""
    return Telemetry(
        timestamp=utc_now(),
        site_id="TX01",
        reactor_id="R1",
        component=component,
        cycle=cycle,
        metrics={"flow_rate": float(cycle)},
    ).outgoing()


def site_status(stats: Stats, store_id: str, polls_missed: int | None = None) -> Outgoing:
    """The heartbeat that an agent with this outbox sends."""
    return SiteStatus(
        timestamp=utc_now(),
        site_id="TX01",
        agent_version="0.1.0",
        store_id=store_id,
        last_seq=stats.last_seq,
        settled_seq=stats.settled_seq,
        outbox_rows=stats.pending_rows,
        polls=0,
        polls_failed=0,
        polls_missed=polls_missed,
        models={},
    ).outgoing()


class OneThread:
    """A backlog over a store that only one thread touches, as in the agent."""

    def __init__(self, path: Path) -> None:
        self.store = OutboxStore(path)
        self.thread = ThreadPoolExecutor(1)
        self.ask(self.store.__enter__)

    def ask(self, work: Callable[..., T], *arguments: object) -> T:
        """Let the thread do it."""
        return self.thread.submit(work, *arguments).result()

    @property
    def store_id(self) -> str:
        return self.store.store_id

    def pending(self, after_seq: int, limit: int, *, urgent: bool = False) -> list[Row]:
        return self.ask(partial(self.store.pending, after_seq, limit, urgent=urgent))

    def acknowledge(self, seqs: Sequence[int]) -> None:
        self.ask(self.store.acknowledge, seqs)

    def pending_rows(self) -> int:
        return self.ask(self.store.stats).pending_rows


@contextmanager
def broker() -> Iterator[str]:
    """An evaluation broker's address."""
    port = free_port()
    with running("control-plane", "broker", "--listen", f"127.0.0.1:{port}", port=port):
        yield f"127.0.0.1:{port}"


@contextmanager
def thread(run: Callable[..., object], *arguments: object) -> Iterator[None]:
    """`run(stop, *arguments)` beside the test, ended with it."""
    stop = threading.Event()
    worker = threading.Thread(target=run, args=(stop, *arguments))
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join(DEADLINE_S)
        assert not worker.is_alive()


@contextmanager
def forwarding(backlog: OneThread, bootstrap: str) -> Iterator[Forwarder]:
    """A forwarder at work."""
    forwarder = Forwarder(backlog, bootstrap, "TX01", CONFIG_HASH)
    with thread(forwarder.run, 0.0):
        yield forwarder


@contextmanager
def ingesting(
    lake: Path, bootstrap: str, *before: Sink, client: Mapping[str, str] | None = None
) -> Iterator[Ingest]:
    """An ingest at work; the sinks `before` get each batch before the lake does."""
    writer = LakeWriter(lake)
    writer.create()
    known, progress = KnownRows(LakeReader(lake).spans()), Progress(lake / FILE_NAME)
    ingest = Ingest(bootstrap, [*before, writer], known, progress=progress, client=client)
    with thread(ingest.run):
        yield ingest
