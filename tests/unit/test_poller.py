"""Another configuration between two polls: what is kept, what begins anew, what ends."""

import asyncio

import pytest

from edge_agent.health import Metrics
from edge_agent.poller import Poller
from edge_agent.site_config import SiteConfig
from shared.errors import ConfigError
from shared.reactor_config import parse_fleet
from shared.schemas import Alert, Quality, Telemetry, utc_now


class FakeSource:
    """Every tag of every component is gone; it remembers whether it is open."""

    made: list["FakeSource"]

    def __init__(self, site_id, plant, components) -> None:
        self.components, self.open = components, False
        FakeSource.made.append(self)

    async def __aenter__(self):
        self.open = True
        return self

    async def __aexit__(self, *_):
        self.open = False

    async def read(self):
        return [
            Telemetry(
                timestamp=utc_now(),
                **key._asdict(),
                metrics={},
                quality=dict.fromkeys(c.tags, Quality.TIMEOUT),
            )
            for key, c in self.components.items()
        ]


class Kept:
    def __init__(self) -> None:
        self.records = []

    async def keep(self, records, events=(), notes=None):
        self.records += records


def config(components: dict, **plant: object) -> SiteConfig:
    fleet = parse_fleet(
        {"TX01": {"plant": {"poll_period_s": 0.05, "timeout_s": 0.05} | plant, "R1": components}}, "t"
    )
    return SiteConfig.of(fleet, "TX01", "t")


@pytest.fixture
def kept(monkeypatch) -> Kept:
    FakeSource.made = []
    monkeypatch.setattr("edge_agent.poller.source_for", FakeSource)
    monkeypatch.setattr("edge_agent.poller.WARM_UP_READS_MAX", 1)
    return Kept()


def open_sources() -> list[FakeSource]:
    return [source for source in FakeSource.made if source.open]


async def polled(poller: Poller, polls: int) -> None:
    running = asyncio.create_task(poller.run())
    while poller.polls < polls:
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_unchanged_components_keep_their_line_and_changed_ones_begin_anew(kept):
    """A window that survives is the same object; the alerts of what ended are cleared."""
    first = config({"coolant_pump": {}, "heat_exchanger": {}, "control_rod_drive": {}})
    second = config({"coolant_pump": {}, "heat_exchanger": {"thresholds": {"rul_warning": 30}}})
    async with Poller("TX01", first, kept, Metrics()) as poller:
        await polled(poller, 4)
        lines = dict(poller._lines)
        async with poller.changing(second):
            assert poller.config is first
        assert {key.component: poller._lines[key] is lines[key] for key in poller._lines} == {
            "coolant_pump": True, "heat_exchanger": False,
        }  # fmt: skip
        assert len(open_sources()) == 1
        assert open_sources()[0].components == second.components
    assert open_sources() == []
    alerts = [record for record in kept.records if isinstance(record, Alert)]
    raised = {a.alert_id for a in alerts if a.state == "raised" and a.component != "coolant_pump"}
    assert raised
    assert {a.alert_id for a in alerts if a.state == "cleared"} == raised


async def test_a_change_elsewhere_in_the_file_keeps_the_connection(kept):
    """Another hash, the same plant and components: the source stays."""
    first = config({"coolant_pump": {}})
    second = SiteConfig(first.plant, first.components, "0" * 64)
    async with Poller("TX01", first, kept, Metrics()) as poller:
        async with poller.changing(second):
            pass
        assert poller.config is second
        assert len(FakeSource.made) == 1


async def test_a_change_that_fails_leaves_everything_as_it_was(kept):
    """The new source is closed again; the old one goes on."""
    first = config({"coolant_pump": {}})
    async with Poller("TX01", first, kept, Metrics()) as poller:
        with pytest.raises(ZeroDivisionError):
            async with poller.changing(config({"heat_exchanger": {}})):
                raise ZeroDivisionError
        assert poller.config is first
        assert open_sources() == FakeSource.made[:1]
        await polled(poller, 2)


async def test_another_pace_is_taken_at_once(kept):
    """An hour's wait for the next poll does not keep a shorter period from beginning."""
    async with Poller("TX01", config({"coolant_pump": {}}, poll_period_s=3600), kept, Metrics()) as poller:
        running = asyncio.create_task(poller.run())
        await asyncio.sleep(0)
        async with poller.changing(config({"coolant_pump": {}})):
            pass
        async with asyncio.timeout(60):
            await poller.polled.wait()
        running.cancel()


class SlowAtFirst(FakeSource):
    """Its second answer takes three periods."""

    reads = 0

    async def read(self):
        self.reads += 1
        if self.reads == 2:
            await asyncio.sleep(0.16)
        return await super().read()


async def test_missed_polls_are_counted_before_the_next_reading_is_kept(kept, monkeypatch):
    """So a heartbeat that is kept after a reading explains the time before it."""
    monkeypatch.setattr("edge_agent.poller.source_for", SlowAtFirst)
    told: list[int] = []
    async with Poller("TX01", config({"coolant_pump": {}}), kept, Metrics()) as poller:
        keep = kept.keep

        async def noted(records, events=(), notes=None):
            told.append(poller.polls_missed)
            await keep(records, events, notes)

        kept.keep = noted
        await polled(poller, 4)
    assert told[0] == 0
    assert told[1] >= 2  # by the reading that took so long itself


def test_a_site_without_components_is_refused():
    with pytest.raises(ConfigError, match="has no component"):
        config({})
