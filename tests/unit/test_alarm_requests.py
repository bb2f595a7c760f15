"""Requests of an operator: carried out once, soon or never; what comes of them is kept."""

import os
import time
from datetime import timedelta

import pytest
from pydantic import ValidationError

from edge_agent.alarms import AlarmDesk, AlarmRequest, RequestSpool
from edge_agent.alarms.requests import ANSWER_KEPT_S, REQUEST_S_MAX, SHELVE_MAX
from edge_agent.health import Metrics
from edge_agent.outbox import Outbox, OutboxStore
from edge_agent.outbox.reader import OutboxReader
from edge_agent.poller import Poller
from edge_agent.recorder import Recorder
from edge_agent.scoring import read_note
from edge_agent.site_config import SiteConfig
from shared.errors import Retryable
from shared.log_key import LogKey
from shared.reactor_config import parse_fleet
from shared.schemas import Alert, ComponentId, Quality, Telemetry, utc_now

PUMP = ComponentId("TX01", "R1", "coolant_pump")
FLEET = parse_fleet({"TX01": {"R1": {"coolant_pump": {}}}}, "test")


def request(action="shelve", alert="abcd", hours=1.0, **more) -> AlarmRequest:
    now = more.pop("asked_at", utc_now())
    until = {"until": now + timedelta(hours=hours)} if action == "shelve" else {}
    words = {"operator": "A. Reyes", "reason": "being repaired", "asked_at": now}
    return AlarmRequest.model_validate({"action": action, "alert": alert, **words, **until, **more})


@pytest.mark.parametrize(
    "wrong",
    [{"hours": 13}, {"hours": 0}, {"operator": ""}, {"reason": ""}, {"alert": "abc"}, {"action": "silence"}],
)
def test_a_shelving_has_a_name_a_reason_and_an_end(wrong):
    """Bounded by a shift; nobody shelves for ever, for nothing, or without saying why."""
    with pytest.raises(ValidationError):
        request(**wrong)
    assert request(hours=SHELVE_MAX / timedelta(hours=1)).until


def test_a_request_is_answered_once_and_then_forgotten(tmp_path):
    spool, asked = RequestSpool(tmp_path), request()
    spool.ask(asked)
    assert spool.take() == [asked]
    assert spool.answer_to(asked) is None
    spool.answer(asked.request, done="shelved")
    assert spool.take() == []
    assert spool.answer_to(asked) == {"done": "shelved"}
    assert list((tmp_path / "alarm-requests").iterdir()) == []


def test_what_is_no_request_is_refused_and_stops_no_other(tmp_path):
    """Too old, not JSON, under another's name: an answer each, and the good one is taken."""
    spool, good, old = RequestSpool(tmp_path), request(), request()
    spool.ask(good)
    old = old.model_copy(update={"asked_at": utc_now() - timedelta(seconds=REQUEST_S_MAX + 5)})
    old = old.model_copy(update={"until": old.asked_at + timedelta(hours=1)})
    spool.ask(old)
    garbage = request()
    (tmp_path / "alarm-requests" / f"{garbage.request}.request").write_text("{")
    stolen = request()
    (tmp_path / "alarm-requests" / f"{stolen.request}.request").write_text(good.model_dump_json())
    assert spool.take() == [good]
    assert "ask again" in (spool.answer_to(old) or {})["refused"]
    assert "refused" in (spool.answer_to(garbage) or {})
    assert "holds the request" in (spool.answer_to(stolen) or {})["refused"]


def test_a_request_that_nobody_answered_is_withdrawn(tmp_path):
    spool, asked = RequestSpool(tmp_path), request()
    spool.ask(asked)
    spool.withdraw(asked)
    assert spool.take() == []


def test_answers_that_nobody_took_are_forgotten(tmp_path):
    spool, asked = RequestSpool(tmp_path), request()
    spool.ask(asked)
    spool.answer(asked.request, done="shelved")
    [answer] = (tmp_path / "alarm-requests").iterdir()
    os.utime(answer, (0, time.time() - ANSWER_KEPT_S - 1))
    spool.take()
    assert not answer.exists()


class Site:
    """A desk over a real outbox and a poller whose source is never opened."""

    def __init__(self, folder, outbox: Outbox) -> None:
        self.outbox, self.folder = outbox, folder
        self.recorder = Recorder(outbox, "TX01", LogKey.load_or_create(folder / "key.pem"), Metrics())
        self.poller = Poller("TX01", SiteConfig.of(FLEET, "TX01", "t"), self.recorder, Metrics())
        self.spool = RequestSpool(folder)
        self.desk = AlarmDesk(self.spool, self.poller, self.recorder)

    async def lose_the_plant(self) -> None:
        for _ in range(3):
            tags = FLEET.components()[PUMP].tags
            gone = dict.fromkeys(tags, Quality.TIMEOUT)
            reading = Telemetry(timestamp=utc_now(), **PUMP._asdict(), metrics={}, quality=gone)
            await self.poller._take([reading])

    def alerts(self) -> list[Alert]:
        with OutboxReader(self.folder / "outbox.db") as reader:
            bodies = [s.row.record.body for s in reader.rows() if s.row.record.schema == Alert.SCHEMA]
        return [Alert.model_validate_json(body) for body in bodies]

    def noted(self):
        with OutboxReader(self.folder / "outbox.db") as reader:
            return read_note(reader.notes().get(f"alarms:{PUMP.key}", ""))


async def test_a_request_asked_again_after_a_kill_is_carried_out_once(tmp_path):
    """Kept, then killed before the answer: the next run answers, and shelves nothing anew."""
    spool = RequestSpool(tmp_path)
    async with Outbox(OutboxStore(tmp_path / "outbox.db")) as outbox:
        site = Site(tmp_path, outbox)
        await site.desk.resume()
        await site.lose_the_plant()
        alert_id = site.alerts()[0].alert_id
        asked = request(alert=alert_id)
        spool.ask(asked)
        await site.desk._answer(asked)
        assert spool.answer_to(asked) is not None
        spool.ask(asked)  # as it lies there when the kill came before the answer
    async with Outbox(OutboxStore(tmp_path / "outbox.db")) as outbox:
        site = Site(tmp_path, outbox)
        await site.desk.resume()
        for found in spool.take():
            await site.desk._answer(found)
    assert "done" in (spool.answer_to(asked) or {})
    assert [a.state for a in site.alerts() if a.alert_id == alert_id] == ["raised", "shelved"]
    [noted] = [n for n in site.noted() if n.shelf]
    assert noted.last.alert_id == alert_id


async def test_alerts_that_the_disk_would_not_take_go_with_the_next_commit(tmp_path, monkeypatch):
    """A full disk loses readings, which are named; an alert and its state come when there is room."""
    async with Outbox(OutboxStore(tmp_path / "outbox.db")) as outbox:
        site = Site(tmp_path, outbox)
        await site.desk.resume()

        async def full(*_: object) -> None:
            raise Retryable("no space left")

        with monkeypatch.context() as patch:
            patch.setattr(outbox, "commit", full)
            await site.lose_the_plant()
        assert site.alerts() == []
        await site.recorder.keep([])
        raised = site.alerts()
        await site.recorder.keep([])
        assert len(raised) == len(FLEET.components()[PUMP].tags) == len(site.noted())
        assert site.alerts() == raised


def test_a_disk_that_takes_no_answer_stops_no_request(tmp_path, monkeypatch):
    """The request is done with all the same; the next one is not kept waiting."""
    spool, asked = RequestSpool(tmp_path), request()
    spool.ask(asked)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge_agent.alarms.requests._write", full)
    spool.answer(asked.request, done="shelved")
    assert spool.take() == []


async def test_a_note_that_is_not_readable_stops_no_start(tmp_path):
    async with Outbox(OutboxStore(tmp_path / "outbox.db")) as outbox:
        site = Site(tmp_path, outbox)
        await site.recorder.keep([], notes={f"alarms:{PUMP.key}": '[{"phase": "unheard of"}]'})
        await site.desk.resume()
        assert site.noted() == []
        await site.lose_the_plant()
        assert site.noted()


async def test_alarms_of_a_component_that_is_gone_are_cleared_at_the_start(tmp_path):
    async with Outbox(OutboxStore(tmp_path / "outbox.db")) as outbox:
        site = Site(tmp_path, outbox)
        await site.desk.resume()
        await site.lose_the_plant()
        other = parse_fleet({"TX01": {"R1": {"heat_exchanger": {}}}}, "test")
        recorder = Recorder(outbox, "TX01", LogKey.load_or_create(tmp_path / "key.pem"), Metrics())
        poller = Poller("TX01", SiteConfig.of(other, "TX01", "t"), recorder, Metrics())
        await AlarmDesk(site.spool, poller, recorder).resume()
    states = [alert.state for alert in site.alerts()]
    assert states.count("cleared") == states.count("raised") == len(FLEET.components()[PUMP].tags)
    assert site.noted() == []


async def test_notes_outlive_a_damaged_outbox(tmp_path):
    """What is salvaged includes what stands: it is not raised anew under another id."""
    path = tmp_path / "outbox.db"
    async with Outbox(OutboxStore(path)) as outbox:
        site = Site(tmp_path, outbox)
        await site.desk.resume()
        await site.lose_the_plant()
        before = site.noted()
    with OutboxStore(path) as store:
        store._replace(ValueError("damaged, for the test"))
        assert read_note(store.notes()[f"alarms:{PUMP.key}"]) == before
