"""What every sink owes ingest, whatever it writes to: one suite over all of them.

A new sink brings a harness: how it is opened over a place that outlives it, what it holds, how its other
side goes away and comes back.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import control_plane.sinks.influx_feed as feed_room
from control_plane.sinks.arrival import Arrival, Sink
from control_plane.sinks.influx import InfluxWriter
from control_plane.sinks.influx_feed import InfluxFeed
from control_plane.sinks.lake import LakeReader, LakeWriter
from shared.envelope import Envelope
from shared.errors import Retryable
from shared.listen import free_port
from shared.schemas import Record
from tests.support.console_lake import PUMP, alert, gap, prediction, status, telemetry
from tests.support.influx import values, victoria_metrics
from tests.support.lake_objects import away, settled
from tests.support.object_store import object_store
from tests.support.pipeline import until

START = datetime(2026, 1, 1, tzinfo=UTC)
ACCEPT_S_MAX = 10.0  # a sink that cannot take a batch says so by then; the broker waits for 30 s


@dataclass
class Harness:
    """`opened()` gives a new sink over the same place; `cycles()` are those of the telemetry it holds."""

    opened: Callable[[], AbstractContextManager[Sink]]
    cycles: Callable[[], list[float]]
    away: Callable[[], AbstractContextManager[None]]


@contextmanager
def lake_sink(folder: Path) -> Iterator[Harness]:
    """The lake; its disk goes away."""

    @contextmanager
    def opened() -> Iterator[Sink]:
        writer = LakeWriter(folder)
        writer.create()
        yield writer

    def cycles() -> list[float]:
        rows = LakeReader(folder).rows("SELECT cycle FROM telemetry ORDER BY cycle")
        return [float(row["cycle"]) for row in rows]

    @contextmanager
    def away() -> Iterator[None]:
        table, aside = folder / "telemetry", folder / "aside"
        table.rename(aside)
        table.write_text("no folder")
        yield
        table.unlink()
        aside.rename(table)

    yield Harness(opened, cycles, away)


@contextmanager
def object_lake_sink(folder: Path) -> Iterator[Harness]:
    """The lake with its tables in an object store, which goes away."""
    with pytest.MonkeyPatch.context() as patch, object_store(patch) as server:
        settled(folder)
        with lake_sink(folder) as lake:
            yield replace(lake, away=lambda: away(server))


class _AfterLake:
    """The feed behind the lake that it reads, as ingest has them."""

    def __init__(self, lake: LakeWriter, feed: InfluxFeed) -> None:
        self._lake, self._feed = lake, feed

    def accept(self, batch: Sequence[Arrival]) -> None:
        self._lake.accept(batch)
        self._feed.accept(batch)


@contextmanager
def influx_sink(folder: Path) -> Iterator[Harness]:
    """InfluxDB; its server ends, and starts again."""
    port = free_port()
    servers = [victoria_metrics(folder / "vm", port)]
    url = servers[0].__enter__()

    @contextmanager
    def opened() -> Iterator[Sink]:
        lake = LakeWriter(folder / "lake")
        lake.create()
        with InfluxFeed(folder / "lake", InfluxWriter(url, "token", "org", "bucket")) as feed:
            yield _AfterLake(lake, feed)

    @contextmanager
    def away() -> Iterator[None]:
        cycles()  # what it has taken is on its disk
        servers.pop().__exit__(None, None, None)
        yield
        servers.append(victoria_metrics(folder / "vm", port))
        servers[0].__enter__()

    def cycles() -> list[float]:
        return values(url, "telemetry_cycle_shown")

    try:
        yield Harness(opened, cycles, away)
    finally:
        for server in servers:
            server.__exit__(None, None, None)


@pytest.fixture(params=[lake_sink, object_lake_sink, influx_sink])
def harness(request, tmp_path, monkeypatch) -> Iterator[Harness]:
    monkeypatch.setattr(feed_room, "RETRY_AFTER_S", 0.1)
    with request.param(tmp_path) as found:
        yield found


def poll(cycle: int) -> Record:
    return telemetry(PUMP, START + timedelta(seconds=cycle), cycle, {"cycle_shown": float(cycle)})


def arrivals(records: Sequence[Record], first: int = 0) -> list[Arrival]:
    """A batch, its rows numbered from `first`."""
    return [
        Arrival(each, each.outgoing().body, Envelope(each.SCHEMA, "TX01", "s1", first + n, "c"))
        for n, each in enumerate(records)
    ]


def polls(first: int, last: int) -> list[Arrival]:
    return arrivals([poll(cycle) for cycle in range(first, last)], first)


def test_it_holds_what_it_accepted_each_row_once(harness):
    """Whatever the batches: none is left out, none is there twice, an empty one is nothing."""
    with harness.opened() as sink:
        sink.accept(polls(0, 1))
        sink.accept([])
        sink.accept(polls(1, 40))
        until(lambda: harness.cycles() == [float(n) for n in range(40)])


def test_every_kind_of_record_is_taken_or_left_and_never_refused(harness):
    """Ingest routes by rules that a person wrote: a sink leaves what is not for it."""
    records = [
        alert(PUMP, START), prediction(PUMP, START), status("TX01", START), gap("TX01", START), poll(7),
    ]  # fmt: skip
    with harness.opened() as sink:
        sink.accept(arrivals(records))
        until(lambda: harness.cycles() == [7.0])


def test_what_it_accepted_outlives_it(harness):
    """Ended at once after a batch, it holds the batch when it is opened again."""
    with harness.opened() as sink:
        sink.accept(polls(0, 5))
    with harness.opened() as sink:
        sink.accept(polls(5, 6))
        until(lambda: harness.cycles() == [float(n) for n in range(6)])


def test_while_its_other_side_is_away_it_says_not_now_or_catches_up(harness):
    """A batch is taken or refused as Retryable, in bounded time; afterwards nothing is missing or twice."""
    with harness.opened() as sink:
        sink.accept(polls(0, 3))
        until(lambda: harness.cycles() == [0.0, 1.0, 2.0])
        again = []
        with harness.away():
            for cycle in range(3, 6):
                begun = time.monotonic()
                try:
                    sink.accept(polls(cycle, cycle + 1))
                except Retryable:
                    again.append(cycle)
                    break  # ingest gives it this batch until it takes it
                finally:
                    assert time.monotonic() - begun < ACCEPT_S_MAX
        for cycle in range(again[0] if again else 6, 6):
            sink.accept(polls(cycle, cycle + 1))
        until(lambda: harness.cycles() == [float(n) for n in range(6)])
