"""PRD 2.3: one topic, sinks chosen by what a message says."""

import threading
from pathlib import Path

import pytest

from control_plane.ingest import consumer
from control_plane.ingest.routing import Match, Routes, Rule
from control_plane.ingest.telemetry import consume_telemetry
from control_plane.sinks.influx import InfluxWriter
from control_plane.sinks.lake import LakeReader
from shared.errors import ConfigError, Retryable
from tests.support.dying_ingest import AtOnce
from tests.support.pipeline import OneThread, broker, forwarding, telemetry, thread, until


@pytest.fixture(autouse=True)
def no_wait(monkeypatch):
    """The group's own wait for more members is tested elsewhere."""
    monkeypatch.setattr(consumer, "Consumer", AtOnce)


class Kept:
    """A sink that remembers; it says "not now" as often as `refusals`."""

    def __init__(self, refusals: int = 0) -> None:
        self.keys, self.refusals = [], refusals

    def accept(self, batch) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Retryable("not now")
        self.keys += [arrival.record.key for arrival in batch]


@pytest.mark.slow
def test_records_go_to_the_sinks_that_their_content_names(tmp_path):
    """By component type, to everyone, to nobody; the same record twice reaches a sink once."""
    types = {"TX01/R1/coolant_pump": "pump", "TX01/R1/heat_exchanger": "exchanger"}
    rules = [
        Rule(match=Match(component_type="pump"), to=("lake", "influx", "alerts")),
        Rule(to=("lake", "influx")),
    ]
    lake, pumps, nobody = Kept(refusals=1), Kept(), Kept()
    influx = InfluxWriter("http://127.0.0.1:1", "t", "o", "b")  # away: points wait in its buffer
    sinks = {"influx": influx, "alerts": pumps, "scoring": nobody, "lake": lake}
    backlog = OneThread(tmp_path / "o.db")
    backlog.ask(backlog.store.commit, [telemetry(1), telemetry(1, "heat_exchanger")])
    backlog.acknowledge = lambda seqs: None

    def consume(stop: threading.Event, address: str) -> None:
        consume_telemetry("telemetry_raw", sinks, Routes(rules, types), bootstrap=address, stop=stop)

    with broker() as address, thread(consume, address):
        for _ in range(2):
            with forwarding(backlog, address) as forwarder:
                until(lambda: forwarder.delivered == 2)
        until(lambda: len(lake.keys) == 2)
    assert pumps.keys == ["TX01/R1/coolant_pump"]
    assert lake.keys == ["TX01/R1/coolant_pump", "TX01/R1/heat_exchanger"]
    assert nobody.keys == []
    assert len(influx._points) == 2


@pytest.mark.slow
def test_without_sinks_the_lake_is_the_sink(tmp_path, monkeypatch):
    """The one-line call of the PRD works, from the environment alone; a wrong topic names the right ones."""
    monkeypatch.setenv("PM_DATA_DIR", str(tmp_path))
    backlog = OneThread(tmp_path / "o.db")
    backlog.ask(backlog.store.commit, [telemetry(n) for n in range(3)])
    stop = threading.Event()
    with broker() as address, forwarding(backlog, address):
        monkeypatch.setenv("PM_KAFKA", address)
        worker = threading.Thread(target=consume_telemetry, args=("telemetry_raw",), kwargs={"stop": stop})
        worker.start()
        until(lambda: held(tmp_path / "lake") == {backlog.store_id: [(1, 3)]})
        stop.set()
        worker.join()
    with pytest.raises(ConfigError, match="found 'telemetry'; there are telemetry_raw, predictions"):
        consume_telemetry("telemetry")


def held(lake: Path) -> dict:
    try:
        return LakeReader(lake).spans()
    except Retryable:
        return {}
