"""`control-plane ingest`: alone, and one of them to a lake."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from threading import Event

import pytest

from control_plane import ingest_part
from control_plane.alerts.settings import notice_settings
from control_plane.app import Centre, CentreSettings, Part
from control_plane.inference_answering import InferenceSettings
from control_plane.ingest.routing import Routes, Rule
from control_plane.ingest_part import IngestSettings, run_ingest
from control_plane.layout import Layout
from control_plane.sinks.lake import LakeReader
from shared.errors import ConfigError, Retryable
from shared.listen import free_port
from shared.schemas import utc_now
from tests.support.console_lake import PUMP, alert, fleet
from tests.support.notice_ends import hook, mailbox
from tests.support.pipeline import OneThread, broker, forwarding, telemetry, until

END_DEADLINE_S = 60.0
MAIN = "from control_plane.cli import main; main()"


def held(lake: Path) -> dict:
    try:
        return LakeReader(lake).spans()
    except Retryable:
        return {}


class People:
    """An alert on its way to a centre, and the far ends of its notices."""

    def __init__(self, folder, broker_address, hook_end, box):
        self.sent, self.folder, self.address = alert(PUMP, utc_now()), folder, broker_address
        self.end, self.box = hook_end, box

    def environment(self) -> dict[str, str]:
        return {
            "PM_ALERT_WEBHOOK_URL": self.end.url,
            "PM_ALERT_SMTP_URL": "smtp://{}:{}".format(*self.box.address),
            "PM_ALERT_EMAIL_TO": "shift@plant.example",
            "PM_ALERT_EMAIL_FROM": "centre@plant.example",
        }

    def were_told(self) -> None:
        """Both ways, once, of this alert."""
        until(lambda: self.end.posts and self.box.letters)
        [(_, body)], [letter] = self.end.posts, self.box.letters
        assert json.loads(body)["alert"]["alert_id"] == self.sent.alert_id
        assert f"Alert:         {self.sent.alert_id}".encode() in letter.content


@pytest.fixture
def people(tmp_path):
    """Three readings and an alert lie in Kafka; a web server and a mail server listen."""
    backlog = OneThread(tmp_path / "o.db")
    with broker() as address, forwarding(backlog, address), hook() as end, mailbox(free_port()) as box:
        found = People(tmp_path, address, end, box)
        backlog.ask(backlog.store.commit, [*(telemetry(n) for n in range(3)), found.sent.outgoing()])
        found.store_id = backlog.store_id
        yield found


@pytest.mark.slow
def test_ingest_alone_calls_people_and_a_second_one_is_told_why_it_may_not(people, monkeypatch):
    """Records reach the lake and people; a second ingest is refused by process number; SIGTERM ends it."""
    monkeypatch.setattr(ingest_part, "LAKE_LOCK_WAIT_S", 0.0)
    folder, address = people.folder, people.address
    metrics = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-c", MAIN, "ingest", "--data-dir", str(folder), "--kafka", address]
    command += ["--ingest-metrics", metrics]
    environment = os.environ | people.environment()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "notices of alerts  webhook, email\n"
            assert process.stdout.readline() == f"ingest             {address} (Kafka) to {folder / 'lake'}\n"
            until(lambda: held(folder / "lake") == {people.store_id: [(1, 4)]})
            people.were_told()
            counted = urllib.request.urlopen(f"http://{metrics}/metrics").read().decode()
            assert 'centre_ingest_records_total{schema="telemetry/1"} 3.0' in counted
            assert "centre_ingest_dead_letters_total 0.0" in counted
            told = rf"process {process.pid} is writing to this lake\. One ingest writes to a lake"
            with pytest.raises(Retryable, match=told):
                run_ingest(IngestSettings(Layout(folder), address), Event(), pytest.fail)
            process.send_signal(signal.SIGTERM)
            assert process.wait(END_DEADLINE_S) == 0
        finally:
            process.kill()


@pytest.mark.slow
async def test_ingest_as_a_part_of_serve_calls_people_too(people):
    """The same way from Kafka to people."""
    at, said, stop = f"127.0.0.1:{free_port()}", [], asyncio.Event()
    settings = CentreSettings(
        people.folder, people.address, at, at, InferenceSettings(at), parts=frozenset([Part.INGEST]),
        notices=notice_settings(people.environment()),
    )  # fmt: skip
    running = asyncio.create_task(Centre(settings, fleet()).run(stop, said.append))
    try:
        await asyncio.to_thread(people.were_told)
    finally:
        stop.set()
        await running
    assert said[0] == "notices of alerts  webhook, email"


def test_a_rule_that_names_a_sink_which_is_not_there_is_refused(tmp_path):
    """Before anything is read, with what is missing."""
    routes = Routes([Rule(to=("lake", "influx"))])
    with pytest.raises(ConfigError, match="a rule names influx, which is not set up here"):
        run_ingest(IngestSettings(Layout(tmp_path), "127.0.0.1:1", routes=routes), Event(), pytest.fail)
