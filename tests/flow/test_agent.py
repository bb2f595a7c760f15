"""A whole agent on real sockets, with and without the world outside its site (invariant 7)."""

import asyncio
import json
from collections import Counter

import pytest

from edge_agent.health import Metrics
from edge_agent.outbox import Outbox, OutboxStore
from edge_agent.recorder import Event, Recorder
from edge_agent.update import ReleaseClient
from shared.log_key import LogKey
from shared.schemas import AuditEvent
from tests.support.agent_rig import DEADLINE_S, Rig
from tests.support.releases import make_release
from tests.support.web import served


@pytest.fixture
def rig(tmp_path, monkeypatch):
    monkeypatch.setattr("edge_agent.app.DRAIN_DEADLINE_S", 0.1)  # there is no broker to drain to
    monkeypatch.setattr("edge_agent.centre.UPDATE_PERIOD_S", 0.3)
    monkeypatch.setattr("edge_agent.centre.APART_RETRY_S", 0.2)
    return Rig(tmp_path)


async def test_a_site_that_has_a_model_needs_nobody(rig):
    """Polls, scores, alerts and records go on without broker, fleet service and repositories."""
    rig.centre.roll_out(rig.centre.publish(*make_release(anomaly_threshold=-1.0)))
    async with rig.plant():
        with served(rig.centre.layout.repository) as url:
            async with rig.agent(url):
                await rig.until(lambda: rig.rows("prediction/1"))
        before = len(rig.rows("prediction/1"))
        async with rig.agent():
            await rig.until(lambda: len(rig.rows("prediction/1")) > before + 20)
            code, text = await rig.get("/healthz")
            _, metrics = await rig.get("/metrics")
    assert (code, json.loads(text)["state"]) == (200, "ok")
    assert "edge_predictions_total 2" in metrics
    assert [a["state"] for a in rig.rows("alert/1")][:1] == ["raised"]
    assert len(rig.events(AuditEvent.PREDICTION)) == len(rig.rows("prediction/1"))
    last = rig.rows("status/1")[-1]
    assert last["models"]["coolant_pump"]["name"] == "coolant_pump"


async def test_a_refused_release_is_on_the_record_and_scoring_goes_on(rig):
    rig.centre.roll_out(rig.centre.publish(*make_release()))
    async with rig.plant():
        with served(rig.centre.layout.repository) as url:
            async with rig.agent(url):
                await rig.until(lambda: rig.rows("prediction/1"))
            manifest, model = make_release(version=2)
            rig.centre.roll_out(rig.centre.publish(manifest, model))
            path = rig.centre.layout.repository / "image/targets/coolant_pump/2/model.onnx"
            path.write_bytes(model[:-1] + bytes([model[-1] ^ 1]))
            async with rig.agent(url):
                await rig.until(lambda: rig.events(AuditEvent.MODEL_REFUSED))
                count = len(rig.rows("prediction/1"))
                await rig.until(lambda: len(rig.rows("prediction/1")) > count + 5)
                _, metrics = await rig.get("/metrics")
    refusal = rig.events(AuditEvent.MODEL_REFUSED)[0]
    assert refusal["detail"]["check"] == "image hash"
    assert {p["model"]["version"] for p in rig.rows("prediction/1")} == {1}
    assert 'edge_models_refused_total{check="image hash"}' in metrics


async def test_a_release_for_a_newer_agent_is_refused(rig):
    rig.centre.roll_out(rig.centre.publish(*make_release(oldest_agent_version="99.0")))
    async with rig.plant():
        with served(rig.centre.layout.repository) as url:
            async with rig.agent(url):
                await rig.until(lambda: rig.events(AuditEvent.MODEL_REFUSED))
    assert rig.events(AuditEvent.MODEL_REFUSED)[0]["detail"]["check"] == "agent version"
    assert rig.rows("prediction/1") == []


async def test_an_update_room_that_fails_unexpectedly_stops_no_poll(rig, monkeypatch):
    calls = Counter()

    def fail(self):
        calls["fetch"] += 1
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setattr(ReleaseClient, "fetch", fail)
    async with rig.plant(), rig.agent():
        await rig.until(lambda: calls["fetch"] >= 2)
        count = len(rig.rows("telemetry/1"))
        await rig.until(lambda: len(rig.rows("telemetry/1")) > count + 5)


async def test_a_plant_that_is_away_is_said_and_the_agent_waits(rig):
    async with rig.agent():
        await rig.until(lambda: len(rig.rows("telemetry/1")) > 3)
        code, text = await rig.get("/healthz")
        assert code == 503
        assert "nothing read yet" in text
        assert all(row["metrics"] == {} and row["quality"] for row in rig.rows("telemetry/1"))
        async with rig.plant():
            await rig.until(lambda: rig.rows("telemetry/1")[-1]["metrics"])
            code, text = await rig.get("/healthz")
    assert (code, json.loads(text)["state"]) == (200, "degraded")  # no model yet
    assert "no model yet for TX01/R1/coolant_pump" in text


async def test_start_and_stop_are_on_the_record_and_restarts_continue_it(rig):
    for _ in range(2):
        async with rig.agent():
            await rig.until(lambda: rig.rows("status/1"))
            await asyncio.sleep(0.3)
    entries = rig.rows("audit/1")
    assert [e["index"] for e in entries] == list(range(len(entries)))
    kinds = [e["event"] for e in entries if e["event"] != AuditEvent.ALERT]
    assert kinds == ["agent_started", "config_loaded", "agent_stopped"] * 2
    assert rig.rows("checkpoint/1")[-1]["size"] == len(entries)


async def test_a_library_that_swallows_a_cancellation_does_not_keep_the_agent_from_ending(rig, monkeypatch):
    swallowed, reading = [], asyncio.Event()

    async def read(self):
        reading.set()
        try:
            await asyncio.sleep(DEADLINE_S)
        except asyncio.CancelledError:
            if swallowed:
                raise
            swallowed.append(True)
        return []

    monkeypatch.setattr("edge_agent.app.CANCEL_AGAIN_S", 0.1)
    monkeypatch.setattr("edge_agent.sources.ModbusSource.read", read)
    async with asyncio.timeout(DEADLINE_S / 2):
        async with rig.agent():
            await reading.wait()
    assert swallowed
    assert rig.events(AuditEvent.AGENT_STOPPED)


async def test_a_commit_that_is_cancelled_leaves_log_and_outbox_alike(tmp_path):
    """At the end of a site's run its tasks are cancelled, perhaps in the middle of a commit."""
    outbox = Outbox(OutboxStore(tmp_path / "outbox.db"))
    async with outbox:
        recorder = Recorder(outbox, "TX01", LogKey.load_or_create(tmp_path / "key.pem"), Metrics())
        await recorder.open()
        for _ in range(20):
            keeping = asyncio.create_task(recorder.keep([], [Event(AuditEvent.ALERT, "TX01")]))
            await asyncio.sleep(0)
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        assert recorder.log.size == len(await outbox.audit_leaves())
