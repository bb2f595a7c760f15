"""Sites that do not score: the centre predicts from their telemetry, once a row; the lake never waits."""

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import numpy as np
import pytest
from structlog.testing import capture_logs

from control_plane.ingest.centre_scoring import CentreScoring, standing_alerts
from control_plane.ingest.completeness import read_accounts
from control_plane.ingest.known_rows import KnownRows
from control_plane.ingest.missed_windows import MissedWindows
from control_plane.ingest.routing import Routes, Rule
from control_plane.ingest_part import IngestSettings, Scoring, run_ingest
from control_plane.serving.client import RULInferenceClient
from control_plane.serving.published_specs import PublishedSpecs
from control_plane.serving.server_dialled import ServerDialled
from control_plane.serving.tokens import TokenFile
from control_plane.sinks.arrival import Arrival
from control_plane.sinks.lake import LakeReader, LakeWriter
from edge_agent.scoring import Scorer
from edge_agent.window import WindowBuffer
from shared.envelope import Envelope
from shared.errors import ConfigError, Rejected, Retryable
from shared.listen import free_port
from shared.reactor_config import parse_fleet
from shared.schemas import AlertState, ComponentId, Telemetry
from shared.wire import rul_pb2_grpc
from tests.support.inference import behind_tls, door, until_served
from tests.support.kafka_tls import authority
from tests.support.pipeline import OneThread, broker, forwarding, thread, until
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

    def __init__(self, folder, release=RELEASE) -> None:
        self.centre = Centre(folder)
        self.layout = self.centre.layout
        self.folder = self.layout.lake
        self.centre.publish(*release)
        self.lake = LakeReader(self.folder)
        self.writer = LakeWriter(self.folder)
        self.writer.create()

    def scoring(self, address, *sinks, **settings) -> CentreScoring:
        client = RULInferenceClient(address, **settings)
        specs, known = PublishedSpecs(self.centre.layout.repository), KnownRows(self.lake.spans())
        missed, standing = MissedWindows(self.folder), standing_alerts(self.lake)
        return CentreScoring(client, specs, FLEET, sinks or [self.writer], known, missed, standing)

    async def take(self, scoring, batch) -> None:
        """As ingest does: the sink, then the lake."""
        await accept(scoring, batch)
        await accept(self.writer, batch)

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


async def test_a_standstill_is_withheld_as_at_the_edge_and_the_centres_alarm_stands(tmp_path):
    """The same code by the rule that the release brings: no number, and no alert, while it stands still."""
    release = make_release(operating={"shaft_speed": 0.5, "flow_rate": 0.5})
    site = Site(tmp_path, release)
    stopped = telemetry(range(13, 33), 5000.0)  # all but what tells of the standstill looks healthy
    for arrival in stopped:
        arrival.record.metrics.update(shaft_speed=0.0, flow_rate=0.0)
    batch = [*telemetry(range(1, 13), 5.0), *stopped, *telemetry(range(33, 49), 5.0)]
    async with door(site.centre) as address:
        scoring = site.scoring(address)
        await until_ready(address)
        await accept(scoring, batch)
    edge, window = Scorer.load(*release), WindowBuffer(PLACE, "coolant_pump", SPEC)
    theirs = edge.score_many([w for arrival in batch if (w := window.push(arrival.record))])
    found = site.predictions()
    assert [row["withheld_because"] for row in found] == [each.withheld_because for each in theirs]
    reasons = {row["seq"]: row["withheld_because"] for row in found}
    expected = {
        12: None,
        13: "not_running",
        32: "not_running",
        33: "starting_up",
        46: "starting_up",
        47: None,
    }
    assert {seq: reasons[seq] for seq in expected} == expected
    assert {row["rul"] for row in found if 13 <= row["seq"] <= 32} == {None}
    alerts = site.lake.rows("SELECT state, seq FROM alerts ORDER BY seq")
    assert [(row["state"], row["seq"]) for row in alerts] == [("raised", 10)]


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


def windows_of(batch):
    """Digests of the windows that end with each row, by its number."""
    buffer, found = WindowBuffer(PLACE, "coolant_pump", SPEC), {}
    for arrival in batch:
        if (window := buffer.push(arrival.record)) is not None:
            found[arrival.envelope.seq] = (window.sha256(), window.timestamp)
    return found


async def test_windows_that_were_missed_are_scored_when_the_server_is_back(site, monkeypatch):
    """From the lake, the newest first, a few at a time; each once, of its own time and from all its cycles.
    They raise no alert: that was over before anybody could be told."""
    monkeypatch.setattr("control_plane.ingest.missed_windows.ROWS_MAX", 20)
    rows = [
        *telemetry(range(1, 13), 5000.0),
        *telemetry(range(13, 53), 5.0),
        *telemetry(range(53, 70), 5000.0),
    ]
    async with door(site.centre) as address:
        scoring, order = site.scoring(address), []
        await until_ready(address)
        await site.take(scoring, rows[:12])
        right, scoring._client = (
            scoring._client,
            RULInferenceClient(f"127.0.0.1:{free_port()}", deadline_s=0.5),
        )
        for arrival in rows[12:60]:
            await site.take(scoring, [arrival])
        assert (scoring.predicted, scoring.unscored) == (3, 48)
        scoring._client, scoring._away_until = right, 0.0
        for arrival in rows[60:]:
            before = {row["seq"] for row in site.predictions()}
            await site.take(scoring, [arrival])
            order.append(sorted({row["seq"] for row in site.predictions()} - before))
    expected = windows_of(rows)
    found = [(row["seq"], (row["window_sha256"], row["timestamp"])) for row in site.predictions()]
    assert found == sorted(expected.items())
    assert order == [
        [61], [*range(41, 61), 62], [*range(21, 41), 63], [*range(13, 21), 64], [65], [66], [67], [68], [69],
    ]  # fmt: skip
    assert {row["store_id"] for row in site.predictions()} == {f"centre-{STORE}"}
    assert site.lake.rows("SELECT * FROM alerts") == []


async def test_an_ingest_that_begins_again_scores_what_the_one_before_missed(site):
    """What is missing is what the lake says; what the site has predicted itself is not, nor what is older
    than the centre's first prediction."""
    rows = telemetry(range(1, 73), 5000.0)
    own = Scorer.load(*RELEASE).score_many([window_of(rows[:45])])[0]
    envelope = Envelope(own.SCHEMA, "TX01", STORE, 1000, "c0ffee")
    async with door(site.centre) as address:
        await until_ready(address)
        await accept(site.writer, rows[:20])
        await site.take(site.scoring(address), rows[20:40])
        assert [row["seq"] for row in site.predictions()] == [*range(30, 41)]
        await accept(site.writer, [Arrival(own, own.outgoing().body, envelope)])
        await site.take(site.scoring(f"127.0.0.1:{free_port()}", deadline_s=0.5), rows[40:60])
        again = site.scoring(address)
        for batch in (rows[60:70], rows[70:71], rows[71:]):
            await site.take(again, batch)
    found = [(row["seq"], (row["window_sha256"], row["timestamp"])) for row in site.predictions()]
    expected = windows_of(rows)
    assert [seq for seq, _ in found] == [*range(30, 45), *range(46, 73), 1000]
    of_missed = {seq: told for seq, told in expected.items() if 40 < seq < 70 and seq != 45}
    assert {seq: told for seq, told in found if 40 < seq < 70} == of_missed  # from all their cycles


def answered(server):
    """Whether the server serves the release to whom the caller shows itself to be."""
    with server.client(5.0) as client:
        try:
            return client.predict(window_of(telemetry(range(1, 13), 5.0))).model_version == RELEASE[0].folder
        except Rejected:
            return False


def window_of(batch):
    buffer = WindowBuffer(PLACE, "coolant_pump", SPEC)
    [*_, last] = [buffer.push(arrival.record) for arrival in batch]
    return last


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"token": "of-yesterday"}, "UNAUTHENTICATED: this token is not good, or no longer; the token comes"),
        ({"token": ""}, "UNAUTHENTICATED: send `authorization: Bearer TOKEN`"),
        ({"authority": "another"}, "its certificate is not signed by the authority that was given for it"),
    ],
)
async def test_a_wrong_token_or_authority_is_named_once_and_costs_windows_alone(site, tmp_path, wrong, said):
    """It is as a server that is away: no row of a batch is refused; put right, scoring goes on from there."""
    if "authority" in wrong:
        wrong = {"authority": authority(tmp_path)}
    async with behind_tls(site.centre) as right:
        while not await asyncio.to_thread(answered, right):
            await asyncio.sleep(0.05)
        scoring = site.scoring(right.address)
        scoring._client = right._replace(**wrong).client(5.0)
        with capture_logs() as log:
            await accept(scoring, telemetry(range(1, 13), 5.0))
        assert [line["event"] for line in log] == ["windows not scored"]
        assert said in log[0]["reason"]
        assert (scoring.predicted, scoring.unscored) == (0, 3)
        scoring._client, scoring._away_until = right.client(5.0), 0.0
        await accept(scoring, telemetry([13], 5.0))
    [row] = site.predictions()
    assert row["window_sha256"] == window_of(telemetry(range(1, 14), 5.0)).sha256()


async def test_a_token_that_is_taken_back_keeps_the_lake_whole_from_kafka_on(site, tmp_path, monkeypatch):
    """Ingest as its command runs it, over TLS: each reading is in the lake, each later one is predicted."""
    monkeypatch.setattr("control_plane.ingest.centre_scoring.AWAY_S", 0.0)
    monkeypatch.setattr("control_plane.serving.tokens.LOOK_PERIOD_S", 0.0)
    backlog, tokens = OneThread(tmp_path / "o.db"), site.centre.folder / "tokens"
    rows = [arrival.record.outgoing() for arrival in telemetry(range(1, 16), 5.0)]

    def taken(readings):
        backlog.ask(backlog.store.commit, readings)
        whole = [(1, rows.index(readings[-1]) + 1)]
        until(lambda: said and site.lake.spans().get(backlog.store_id) == whole)
        return {store: found for store, found in site.lake.spans().items() if store.startswith("centre-")}

    def all_taken(bus, server, good):
        routes = Routes([Rule(to=("lake", "scoring", "alerts"))])
        scoring = Scoring(server, FLEET, site.centre.layout.repository)
        own = IngestSettings(site.layout, bus, routes=routes, scoring=scoring)
        with thread(lambda stop: run_ingest(own, stop, said.append)):
            refused = taken(rows[:12])
            tokens.write_text(good)
            return refused, taken(rows[12:])

    said: list[str] = []
    async with behind_tls(site.centre) as server:
        while not await asyncio.to_thread(answered, server):
            await asyncio.sleep(0.05)
        good = tokens.read_text()
        TokenFile(tokens).remove("caller")
        with broker() as bus, forwarding(backlog, bus):
            refused, found = await asyncio.to_thread(all_taken, bus, server, good)
    assert refused == {}
    assert found == {
        f"centre-{backlog.store_id}": [(13, 15)],
        f"centre-alerts-{backlog.store_id}": [(13, 13)],
    }


def test_readings_and_token_never_go_out_in_clear(tmp_path):
    """Beyond loopback an authority is needed, a real one; ingest says so before it begins."""
    with pytest.raises(ConfigError, match="beyond loopback inference speaks TLS: give --inference-ca"):
        ServerDialled("centre.example:50051", "secret").client(1.0)
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match="cannot be read as certificates in PEM"):
        ServerDialled("127.0.0.1:50051", "", tmp_path / "ca.pem").client(1.0)
