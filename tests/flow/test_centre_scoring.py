"""Sites that do not score: the centre predicts from their telemetry, once a row; the lake never waits."""

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import numpy as np
import pytest

from control_plane.ingest.centre_scoring import CentreScoring, standing_alerts
from control_plane.ingest.completeness import read_accounts
from control_plane.ingest.known_rows import KnownRows
from control_plane.serving.client import RULInferenceClient
from control_plane.serving.published_specs import PublishedSpecs
from control_plane.sinks.arrival import Arrival
from control_plane.sinks.lake import LakeReader, LakeWriter
from edge_agent.scoring import Scorer
from edge_agent.window import WindowBuffer
from shared.envelope import Envelope
from shared.errors import Retryable
from shared.listen import free_port
from shared.reactor_config import parse_fleet
from shared.schemas import AlertState, ComponentId, Telemetry
from shared.wire import rul_pb2_grpc
from tests.support.inference import door, until_served
from tests.support.releases import Centre, make_release, spec

FLEET = parse_fleet({"TX01": {"R1": {"coolant_pump": {}}}}, "test")
PLACE = ComponentId("TX01", "R1", "coolant_pump")
START = datetime(2026, 1, 1, tzinfo=UTC)
STORE = "0b5c0a36-0000-4000-8000-000000000001"
RELEASE, SPEC = make_release(), spec()


def telemetry(cycles, value):
    """Arrivals of one component, a cycle each; its RUL is about a third of `value`."""
    found = []
    for cycle in cycles:
        metrics = {tag: value + 0.1 * n for n, tag in enumerate(SPEC.tags)}
        when = START + timedelta(seconds=cycle)
        record = Telemetry(**PLACE._asdict(), timestamp=when, cycle=cycle, metrics=metrics)
        envelope = Envelope(Telemetry.SCHEMA, "TX01", STORE, cycle, "c0ffee")
        found.append(Arrival(record, record.outgoing().body, envelope))
    return found


class Site:
    """A centre with a lake and the sink, as ingest makes them at a start."""

    def __init__(self, folder) -> None:
        self.centre, self.folder = Centre(folder), folder / "lake"
        self.centre.publish(*RELEASE)
        self.lake = LakeReader(self.folder)
        self.writer = LakeWriter(self.folder)
        self.writer.create()

    def scoring(self, address, *sinks, **settings) -> CentreScoring:
        client = RULInferenceClient(address, **settings)
        specs, known = PublishedSpecs(self.centre.layout.repository), KnownRows(self.lake.spans())
        return CentreScoring(client, specs, FLEET, sinks or [self.writer], known, standing_alerts(self.lake))

    def predictions(self) -> list[dict]:
        return self.lake.rows("SELECT * FROM predictions ORDER BY seq, timestamp")


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


class Asked:
    """A client that counts who asks it."""

    times = 0

    def predict_many(self, windows):
        self.times += 1
        return iter(())


async def accept(scoring, batch):
    """On a thread, as ingest does."""
    await asyncio.to_thread(scoring.accept, batch)


async def until_ready(address):
    """The server has loaded the release."""
    async with grpc.aio.insecure_channel(address) as channel:
        await until_served(rul_pb2_grpc.RULInferenceServiceStub(channel), RELEASE[0].folder)


async def test_the_centre_says_what_the_edge_would_say_and_alarms_when_it_is_low(site):
    """The same window code, the same model, the same rule; in lake and alerts, under a store of its own."""
    batch = telemetry(range(1, 13), 5.0)
    async with door(site.centre) as address:
        scoring = site.scoring(address)
        await until_ready(address)
        await accept(scoring, batch)
        await accept(scoring, telemetry([13, 14], 5000.0))
    edge, window = Scorer.load(*RELEASE), WindowBuffer(PLACE, "coolant_pump", SPEC)
    windows = [w for arrival in [*batch, *telemetry([13, 14], 5000.0)] if (w := window.push(arrival.record))]
    found = site.predictions()
    assert [row["seq"] for row in found] == [10, 11, 12, 13, 14]
    assert {row["store_id"] for row in found} == {f"centre-{STORE}"}
    for row, theirs in zip(found, edge.score_many(windows), strict=True):
        assert np.float32(row["rul"]) == np.float32(theirs.rul)
        assert (row["window_sha256"], row["window"]) == (theirs.window_sha256, theirs.window)
        assert (row["rul_state"], row["cycle"], row["model_sha256"]) == (
            theirs.rul_state, theirs.cycle, theirs.model.sha256,
        )  # fmt: skip
    alerts = site.lake.rows("SELECT alert_id, state, seq, store_id FROM alerts ORDER BY seq")
    assert [(row["state"], row["seq"]) for row in alerts] == [("raised", 10), ("cleared", 13)]
    assert len({row["alert_id"] for row in alerts}) == 1
    assert read_accounts(site.folder) == []  # no site owes these row numbers


async def test_rows_that_come_again_are_not_predicted_again(site):
    """After a death Kafka gives again what the lake may have a prediction of."""
    batch = telemetry(range(1, 13), 5.0)
    async with door(site.centre) as address:
        first = site.scoring(address)
        await until_ready(address)
        await accept(first, batch)
        await accept(first, batch)
        again = site.scoring(address)
        await accept(again, [*batch, *telemetry([13], 5000.0)])
    assert [row["seq"] for row in site.predictions()] == [10, 11, 12, 13]
    states = [row["state"] for row in site.lake.rows("SELECT state FROM alerts ORDER BY seq")]
    assert states == [AlertState.RAISED, AlertState.CLEARED]  # what stood before the restart clears


async def test_a_sink_that_cannot_take_them_now_gets_the_same_predictions_again(site):
    """A retry of the batch asks the inference server nothing."""

    class Slow:
        def __init__(self) -> None:
            self.batches = []

        def accept(self, batch) -> None:
            self.batches.append([arrival.record.prediction_id for arrival in batch])
            if len(self.batches) == 1:
                raise Retryable("not now")

    slow, batch = Slow(), telemetry(range(1, 13), 5000.0)
    async with door(site.centre) as address:
        scoring = site.scoring(address, slow, site.writer)
        await until_ready(address)
        with pytest.raises(Retryable):
            await accept(scoring, batch)
        await accept(scoring, batch)
    assert slow.batches[0] == slow.batches[1]
    assert [row["prediction_id"] for row in site.predictions()] == slow.batches[0]
    assert scoring.predicted == 3


async def test_a_dead_inference_server_costs_a_moment_and_its_windows_alone(site, monkeypatch):
    """The lake goes on; windows are kept up, so that the first row after it is predicted from all cycles."""
    monkeypatch.setattr("control_plane.ingest.centre_scoring.AWAY_S", 3600.0)
    scoring = site.scoring(f"127.0.0.1:{free_port()}", deadline_s=0.5)
    await accept(scoring, telemetry(range(1, 13), 5.0))
    assert (scoring.predicted, scoring.unscored) == (0, 3)
    asked = Asked()
    scoring._client = asked
    for arrival in telemetry(range(13, 113), 5.0):
        await accept(scoring, [arrival])
    assert (scoring.unscored, asked.times) == (103, 0)
    async with door(site.centre) as address:
        scoring._client = RULInferenceClient(address)
        scoring._away_until = 0.0
        await until_ready(address)
        await accept(scoring, telemetry([113], 5.0))
    [row] = site.predictions()
    window = WindowBuffer(PLACE, "coolant_pump", SPEC)
    [*_, last] = [window.push(arrival.record) for arrival in telemetry(range(1, 114), 5.0)]
    assert (row["seq"], row["window_sha256"]) == (113, last.sha256())
