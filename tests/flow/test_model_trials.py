"""A whole agent takes a model in, tries it, goes back from it, and does what the site's people want."""

import asyncio
import json
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from control_plane.release.journal import Kind
from control_plane.rpc.fleet import FleetService, start_fleet_server
from edge_agent.update import HealthLimits, HoldFile, ImportTray
from shared.listen import free_port
from shared.schemas import AuditEvent, utc_now
from tests.support.agent_rig import Rig
from tests.support.releases import make_release
from tests.support.web import served

QUICK = HealthLimits(trial_cycles=8, watch_cycles=30, early_cycles=4, recent_cycles=4)
WAIT_S = 120.0  # each release is loaded in a process of its own first: seconds on a busy machine
HORIZON = 1e6


@pytest.fixture
def rig(tmp_path, monkeypatch):
    monkeypatch.setattr("edge_agent.app.DRAIN_DEADLINE_S", 0.1)  # there is no broker to drain to
    monkeypatch.setattr("edge_agent.centre.UPDATE_PERIOD_S", 0.3)
    monkeypatch.setattr("edge_agent.centre.JUDGE_PERIOD_S", 0.1)
    monkeypatch.setattr("edge_agent.trials.HealthLimits", lambda: QUICK)
    return Rig(tmp_path)


def release(version: int, bias: float):
    return make_release(version=version, bias=bias, horizon_cycles=HORIZON)


def states(rig: Rig) -> list[tuple[str, str]]:
    """What the record says of models, in order."""
    kinds = ("model_trying", "model_committed", "model_refused", "model_rolled_back", "model_held")
    return [
        (row["event"], row["detail"].get("release") or row["detail"].get("check") or "")
        for row in rig.rows("audit/1")
        if row["event"] in kinds
    ]


async def command(rig: Rig, *words: str) -> tuple[int, str]:
    """An `edge-agent` command beside the running agent."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "edge-agent", "model", *words, "--data-dir", str(rig.data),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, error = await process.communicate()
    return process.returncode or 0, out.decode() + error.decode()


async def test_a_good_model_comes_in_and_a_bad_one_does_not(rig):
    """Tried beside the one in use, on the plant's own readings; scoring never stops."""
    rig.centre.roll_out(rig.centre.publish(*release(1, 0.0)))
    async with rig.plant():
        with served(rig.centre.layout.repository) as url:
            async with rig.agent(url):
                await rig.until(lambda: rig.rows("prediction/1"), WAIT_S)
                rig.centre.roll_out(rig.centre.publish(*release(2, 5.0)))
                await rig.until(lambda: ("model_committed", "coolant_pump/2") in states(rig), WAIT_S)
                rig.centre.roll_out(rig.centre.publish(*release(3, 8e5)))
                await rig.until(lambda: rig.events(AuditEvent.MODEL_REFUSED), WAIT_S)
                count = len(rig.rows("prediction/1"))
                await rig.until(lambda: len(rig.rows("prediction/1")) > count + 5)
    assert states(rig) == [
        ("model_committed", "coolant_pump/1"),
        ("model_trying", "coolant_pump/2"),
        ("model_committed", "coolant_pump/2"),
        ("model_trying", "coolant_pump/3"),
        ("model_refused", "health: shift"),
    ]
    cycles = [row["cycle"] for row in rig.rows("prediction/1")]
    versions = [row["model"]["version"] for row in rig.rows("prediction/1")]
    assert versions == sorted(versions)
    assert set(versions) == {1, 2}
    assert len(cycles) == len(set(cycles))


async def test_the_centre_hears_of_each_change_and_how_the_trial_goes(rig, monkeypatch):
    """The journal of a real fleet service has the site's own words, for the generation that it was told."""
    monkeypatch.setattr("edge_agent.centre.HEALTH_PERIOD_S", 0.1)
    store = rig.centre.layout.store()
    address = f"127.0.0.1:{free_port()}"

    def heard(kind: Kind) -> list[str]:
        return [
            e.detail for e in (line.event for line in store.events()) if e.kind is kind and e.generation == 2
        ]

    def reports() -> list[dict[str, object]]:
        return [json.loads(each) for each in heard(Kind.HEALTH)]

    def compared() -> bool:
        """Since the commit, too; the first report after it may come before the first cycle."""
        return any(each["state"] == "committed" and each["shift"] is not None for each in reports())

    rig.centre.roll_out(rig.centre.publish(*release(1, 0.0)))
    service = FleetService(store)
    server = await start_fleet_server(service, address)
    following = asyncio.create_task(service.follow())
    async with rig.plant():
        with served(rig.centre.layout.repository) as url:
            async with rig.agent(url, address):
                await rig.until(lambda: rig.rows("prediction/1"), WAIT_S)
                rig.centre.roll_out(rig.centre.publish(*release(2, 5.0)))
                await rig.until(lambda: heard(Kind.COMMITTED), WAIT_S)
                await rig.until(compared, WAIT_S)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await server.stop(None)
    assert (heard(Kind.TRYING), heard(Kind.COMMITTED)) == (["coolant_pump/2"], ["coolant_pump/2"])
    assert {report["state"] for report in reports()} <= {"trying", "committed"}  # a newer one replaces it
    assert reports()[-1]["shift"] == pytest.approx(5 / HORIZON, rel=0.1)


async def test_a_site_is_held_and_a_courier_brings_a_release(rig, tmp_path):
    """Hold, list and import beside an agent that nobody's network reaches."""
    rig.centre.roll_out(rig.centre.publish(*release(1, 0.0)))
    stick = tmp_path / "stick"
    async with rig.plant(), rig.agent():
        await rig.until(lambda: rig.rows("telemetry/1"), WAIT_S)
        shutil.copytree(rig.centre.layout.repository, stick)
        code, said = await command(rig, "import", str(stick), "--site", "TX01", "--json")
        assert (code, list(json.loads(said).values())) == (0, ["runs: coolant_pump/1"])
        await rig.until(lambda: rig.rows("prediction/1"), WAIT_S)
        until = f"{utc_now() + timedelta(days=2):%Y-%m-%dT%H:%M}"
        code, said = await command(rig, "hold", "--until", until, "--by", "A. Reyes", "--reason", "outage 14")
        assert (code, said.startswith(f"held until {until}Z by A. Reyes: outage 14")) == (0, True)
        await rig.until(lambda: rig.events(AuditEvent.MODEL_HELD), WAIT_S)
        rig.centre.roll_out(rig.centre.publish(*release(2, 5.0)))
        shutil.rmtree(stick)
        shutil.copytree(rig.centre.layout.repository, stick)
        code, said = await command(rig, "import", str(stick), "--site", "TX01")
        assert (code, "waits: until" in said) == (0, True)
        code, said = await command(rig, "list", "--trust-dir", str(rig.centre.trust["TX01"]), "--json")
        listed = json.loads(said)
        assert [row["slot"] for row in listed["slots"]] == ["COMMITTED"]
        assert (listed["answers"][0]["state"], listed["held"]) == ("HELD", listed["answers"][0]["detail"])
        HoldFile(rig.data).remove()
        await rig.until(lambda: rig.events(AuditEvent.MODEL_HOLD_ENDED), WAIT_S)
        ImportTray(rig.data).lay_in(stick, "TX01")
        await rig.until(lambda: ("model_committed", "coolant_pump/2") in states(rig), WAIT_S)


async def test_a_hold_that_cannot_be_read_holds(rig):
    """Nobody knows what was meant: the models stay, and it is said."""
    rig.centre.roll_out(rig.centre.publish(*release(1, 0.0)))
    rig.data.mkdir()
    HoldFile(rig.data)._path.write_text("{")
    with served(rig.centre.layout.repository) as url:
        async with rig.agent(url):
            await rig.until(lambda: len(rig.events(AuditEvent.MODEL_HELD)) == 2, WAIT_S)
    by_hold, by_release = rig.events(AuditEvent.MODEL_HELD)
    assert by_hold["detail"]["operator"] == "unknown"
    assert "model-hold.json" in by_release["detail"]["until"]


async def test_expired_metadata_is_said_where_people_look(rig, monkeypatch):
    """/healthz names it; a site that scores goes on."""
    from tuf.api.metadata import Timestamp

    from control_plane.release.metadata_files import load

    path = rig.centre.metadata("director/TX01", "timestamp.json")
    timestamp = load(path, Timestamp)
    timestamp.signed.expires = utc_now().replace(microsecond=0) - timedelta(days=1)
    timestamp.signed.version += 1
    timestamp.signatures.clear()
    timestamp.sign(rig.centre.signer("director-TX01"))
    timestamp.to_file(str(path))
    async with rig.plant():
        with served(rig.centre.layout.repository) as url:
            async with rig.agent(url):
                await rig.until(lambda: rig.events(AuditEvent.MODEL_REFUSED), WAIT_S)
                await rig.until(lambda: rig.rows("telemetry/1"))
                async with asyncio.timeout(WAIT_S):  # it is on the record first, then said
                    while "no model can come in" not in (answer := await rig.get("/healthz"))[1]:
                        await asyncio.sleep(0.05)
    code, text = answer
    assert code == 200
    assert "this machine's clock says" in text
