"""The agent as a service: what systemd hears of it, and how it ends."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent_process import Manager, Site, until

PERIOD_S = 0.05
WATCHDOG_S = 0.3
# A poll that hangs while a file is there: the whole event loop, or only the poll.
HANGS = """
import asyncio, os, time
import edge_agent.poller as poller
from edge_agent.sources import ModbusSource
poller.STALL_S = 0.3
read, folder = ModbusSource.read, {folder!r}
async def hang(self):
    while os.path.exists(folder + "/loop"):
        time.sleep(0.05)
    while os.path.exists(folder + "/poll"):
        await asyncio.sleep(0.05)
    return await read(self)
ModbusSource.read = hang
"""
# A wall clock that is as far off as a file says.
CLOCK = """
import pathlib, time
real, offset = time.time, pathlib.Path({folder!r}) / "offset"
time.time = lambda: real() + (float(offset.read_text() or 0) if offset.exists() else 0.0)
"""
SHORT_DRAIN = "import edge_agent.app as app; app.DRAIN_DEADLINE_S = {}"

SOON_AWAY = "; import edge_agent.health.judgement as j; j.STALLED_S = 0.3"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with Manager(tmp_path) as found:
        yield found


@pytest.fixture
def site(tmp_path: Path, manager: Manager) -> Site:
    found = Site(tmp_path, PERIOD_S)
    found.environment |= {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}
    found.write("{coolant_pump: {}}")
    return found


def pings_go_on(manager: Manager) -> bool:
    """Whether the watchdog hears of the agent again."""
    before = manager.count("WATCHDOG=1")
    until(lambda: manager.count("WATCHDOG=1") > before + 2, "a ping")
    return True


def pings_end(manager: Manager) -> None:
    """Wait until systemd would have killed the agent."""
    count, since = manager.count("WATCHDOG=1"), time.monotonic()

    def silent() -> bool:
        nonlocal count, since
        if (now := manager.count("WATCHDOG=1")) != count:
            count, since = now, time.monotonic()
        return time.monotonic() - since > 2 * WATCHDOG_S

    until(silent, "the end of the pings")


@pytest.mark.slow
def test_systemd_hears_ready_status_pings_and_stopping(site, manager, tmp_path):
    """READY once the first poll is on the disk; neither a plant that hangs nor a clock set back by an hour
    ends a ping; SIGTERM ends in order."""
    before = CLOCK.format(folder=str(tmp_path)) + SHORT_DRAIN.format(0.2)
    with site.plant() as plant, site.agent(before=before):
        until(lambda: manager.count("READY=1"), "READY")
        assert site.rows("telemetry/1")
        until(lambda: site.cycles("coolant_pump"), "a reading")
        assert any(line.startswith("STATUS=") for line in manager.lines())
        os.kill(plant.pid, signal.SIGSTOP)
        failed = len([r for r in site.rows("telemetry/1") if not r["metrics"]])
        until(lambda: len([r for r in site.rows("telemetry/1") if not r["metrics"]]) > failed + 3)
        assert pings_go_on(manager)
        until(lambda: any(line.startswith("STATUS=down: no value") for line in manager.lines()), "STATUS")
        assert site.get("/healthz")[0] == 503
        os.kill(plant.pid, signal.SIGCONT)
        until(lambda: site.get("/healthz")[0] == 200, "a healthy site")
        (tmp_path / "offset").write_text("-3600")
        until(lambda: "the clock was set by -3600.0 s" in site.reasons(), "the judgement of the clock")
        count = len(site.cycles("coolant_pump"))
        until(lambda: len(site.cycles("coolant_pump")) > count + 5, "polls after the clock was set")
        assert site.end() == 0
    lines = manager.lines()
    assert lines.count("READY=1") == lines.count("STOPPING=1") == 1
    assert [log["code"] for log in site.logged("problem")].count("plant_away") <= 2  # at the start, perhaps
    until(lambda: site.logged("problem over"))


@pytest.mark.slow
def test_pings_end_when_the_poll_loop_hangs(site, manager, tmp_path):
    """A poll that never returns, and an event loop that does not turn: systemd restarts both."""
    with site.plant(), site.agent(before=HANGS.format(folder=str(tmp_path))):
        until(lambda: site.cycles("coolant_pump"), "a reading")
        assert pings_go_on(manager)
        for what in ("poll", "loop"):
            (tmp_path / what).touch()
            until(lambda: "the poll loop has stood still" in site.reasons(), "the judgement")  # on a thread
            assert site.get("/healthz")[0] == 503
            pings_end(manager)
            (tmp_path / what).unlink()
            assert pings_go_on(manager)


@pytest.mark.slow
def test_sigterm_ends_within_the_deadline_while_kafka_is_away(site):
    """Exit code 0, nothing lost: what was not sent is in the outbox, and a restart goes on after it."""
    with site.plant():
        with site.agent(before=SHORT_DRAIN.format(0.3) + SOON_AWAY):
            until(lambda: len(site.cycles("coolant_pump")) > 3, "readings")
            until(lambda: "took no row for" in site.reasons(), "the judgement that Kafka is away")
            began = time.monotonic()
            assert site.end() == 0
            assert time.monotonic() - began < 10.0
        before = site.cycles("coolant_pump")
        assert [line["code"] for line in site.logged("problem")].count("kafka_away") == 1  # not one a poll
        assert site.logged("not all forwarded; the outbox keeps the rest")[0]["rows"] >= len(before)
        with site.agent(before=SHORT_DRAIN.format(60.0)):
            until(lambda: len(site.cycles("coolant_pump")) > len(before), "readings after the restart")
            site.process.send_signal(signal.SIGTERM)
            until(lambda: len(site.events("agent_stopped")) == 2, "the drain")
            assert site.process.poll() is None
            assert site.end() == -signal.SIGTERM  # a second one ends it at once
    assert site.cycles("coolant_pump")[: len(before)] == before
    assert [e["index"] for e in site.rows("audit/1")] == list(range(len(site.rows("audit/1"))))
