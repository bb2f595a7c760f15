"""A second model beside the one in use: the same readings, none of the plant's records, no late poll."""

import asyncio
import threading

import pytest

from edge_agent.health import Metrics
from edge_agent.poller import Poller
from edge_agent.scoring import Scorer
from edge_agent.site_config import SiteConfig
from edge_agent.trials import Trials
from edge_agent.update import HealthLimits, Release
from shared.onnx_model import OnnxModel
from shared.reactor_config import parse_fleet
from shared.schemas import Assignment, PredictionRecord, Telemetry, utc_now
from tests.support.releases import make_release

KIND = "coolant_pump"
HORIZON = 100.0
LIMITS = HealthLimits()


class CyclingSource:
    """Every tag has a number, of one cycle after the other."""

    def __init__(self, site_id, plant, components) -> None:
        self.components, self.cycle = components, 0

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return

    async def read(self):
        self.cycle += 1
        return [
            Telemetry(
                timestamp=utc_now(),
                **key._asdict(),
                cycle=self.cycle,
                metrics=dict.fromkeys(component.tags, 50.0 + self.cycle % 3),
            )
            for key, component in self.components.items()
        ]


class Kept:
    def __init__(self) -> None:
        self.predictions: list[PredictionRecord] = []

    async def keep(self, records, events=(), notes=None):
        self.predictions += [record for record in records if isinstance(record, PredictionRecord)]


class Drifting(Scorer):
    """Sound for some cycles, then it loses a hundredth of the horizon with each."""

    sound_cycles = 10**9

    def score_many(self, windows):
        found = super().score_many(windows)
        return [answer.model_copy(update={"raw": self._drifted(answer)}) for answer in found]

    def _drifted(self, answer: PredictionRecord) -> dict[str, list[float]]:
        lost = max(0, (answer.cycle or 0) - self.sound_cycles) * HORIZON / 100
        return answer.raw | {"rul": [value - lost for value in answer.raw["rul"]]}


class Blocked(Scorer):
    """Does not answer until it is let go."""

    go: threading.Event

    def score_many(self, windows):
        self.go.wait(20)
        return super().score_many(windows)


def release(version: int, kind: type[Scorer] = Scorer, **changes) -> tuple[Release, Scorer]:
    manifest, model = make_release(version=version, bias=float(version), horizon_cycles=HORIZON, **changes)
    told = Assignment(component_type=KIND, mode="active", rollout_id="r", generation=version)
    found = Release(manifest, manifest.model_dump_json().encode(), model, told, b"", b"")
    return found, kind(manifest, OnnxModel(manifest, model))


class Bench:
    """A poller that scores with release 1, and releases to try beside it."""

    def __init__(self, poller: Poller, kept: Kept) -> None:
        self.poller, self.kept = poller, kept
        self.scorers: dict[str, Scorer] = {}
        self.trials = Trials(poller, self.load)
        poller.use(KIND, release(1)[1])

    async def load(self, of: Release) -> Scorer:
        return self.scorers[of.manifest.folder]

    async def begin(self, version: int, kind: type[Scorer] = Scorer, **changes) -> Scorer:
        found, scorer = release(version, kind, **changes)
        self.scorers[found.manifest.folder] = scorer
        await self.trials.begin(found)
        return scorer

    async def poll(self, times: int = 1) -> None:
        """So many polls, each with what follows it."""
        for _ in range(times):
            await self.poller._poll()
            shadow = self.trials._shadows.get(KIND)
            if shadow is not None and shadow._run is not None:
                await shadow._run

    @property
    def versions(self) -> list[int]:
        return [prediction.model.version for prediction in self.kept.predictions]


@pytest.fixture
async def bench(monkeypatch):
    monkeypatch.setattr("edge_agent.poller.source_for", CyclingSource)
    fleet = parse_fleet(
        {"TX01": {"plant": {"poll_period_s": 3600}, "R1": {KIND: {}, "p2": {"type": KIND}}}}, "t"
    )
    kept = Kept()
    async with Poller("TX01", SiteConfig.of(fleet, "TX01", "t"), kept, Metrics()) as poller:
        bench = Bench(poller, kept)
        await bench.poll(12)
        kept.predictions.clear()
        yield bench


async def test_the_second_model_sees_every_window_and_leaves_no_record(bench):
    await bench.begin(2)
    await bench.poll(5)
    found = bench.trials.comparison(KIND)
    assert (found.cycles, found.windows) == (5, 10)
    assert found.shift == pytest.approx(1 / HORIZON)
    assert bench.versions == [1] * 10


async def test_enough_cycles_and_no_failure_is_all_that_a_commit_needs(bench):
    await bench.begin(2)
    await bench.poll(LIMITS.trial_cycles - 1)
    assert bench.trials.finding(KIND) == (None, False)
    await bench.poll()
    assert bench.trials.finding(KIND) == (None, True)


async def test_a_model_that_drifts_after_fifty_cycles_is_caught_though_it_was_committed(bench):
    """The bad model of the issue, through the same polls as a site's. At the end of its trial it has lost a
    tenth of the horizon, which sound models may differ by; the watch sees it grow."""
    scorer = await bench.begin(2, Drifting)
    scorer.sound_cycles = 12 + 50
    await bench.poll(LIMITS.trial_cycles)
    assert bench.trials.finding(KIND) == (None, True)
    await bench.trials.promote(KIND)
    cycles = 0
    while (failure := bench.trials.finding(KIND)[0]) is None:
        await bench.poll()
        cycles += 1
    assert failure.check == "health: drift"
    assert cycles <= 30


async def test_the_two_change_places_without_losing_a_cycle(bench):
    await bench.begin(2)
    await bench.poll(3)
    await bench.trials.promote(KIND)
    await bench.poll(3)
    assert bench.versions == [1] * 6 + [2] * 6
    found = bench.trials.comparison(KIND)
    assert (found.cycles, found.shift) == (3, pytest.approx(1 / HORIZON))


async def test_a_model_with_other_features_has_its_windows_when_it_takes_over(bench):
    """Its window fills while it is tried; without that a commit would cost ten cycles of predictions."""
    found, _ = release(2)
    spec = found.manifest.feature_spec.model_copy(update={"window_cycles": 20})
    await bench.begin(3, feature_spec=spec, feature_spec_hash=spec.hash())
    await bench.poll(15)
    assert bench.trials.comparison(KIND).cycles == 6  # after the ten that a window needs
    await bench.trials.promote(KIND)
    await bench.poll()
    assert bench.versions[-2:] == [3, 3]


async def test_a_slow_second_model_makes_no_poll_late_and_is_asked_less(bench):
    scorer = await bench.begin(2, Blocked)
    scorer.go = threading.Event()
    try:
        async with asyncio.timeout(60):
            for _ in range(5):
                await bench.poller._poll()
    finally:
        scorer.go.set()
    shadow = bench.trials._shadows[KIND]
    await shadow._run
    assert (shadow.skipped, shadow.comparison.cycles) == (4, 1)
    assert bench.versions == [1] * 10


async def test_a_site_that_is_always_behind_still_judges(bench, monkeypatch):
    """The second model is asked after every eleventh poll: no trial lasts for ever on a slow machine."""
    await bench.begin(2)
    monkeypatch.setattr(bench.poller._schedule, "end", lambda: 1)
    await bench.poll(22)
    shadow = bench.trials._shadows[KIND]
    assert (shadow.skipped, shadow.comparison.cycles) == (20, 2)


async def test_a_second_model_that_hangs_is_refused(bench, monkeypatch):
    monkeypatch.setattr("edge_agent.trials.RUN_S_MAX", 0.0)
    scorer = await bench.begin(2, Blocked)
    scorer.go = threading.Event()
    await bench.poller._poll()
    failure, _ = bench.trials.finding(KIND)
    scorer.go.set()
    await bench.trials._shadows[KIND]._run
    assert failure is not None
    assert failure.check == "health: latency"


async def test_a_second_model_that_breaks_is_refused_and_no_poll_with_it(bench):
    """Whatever an output of a wrong shape leads to, it does so beside the plant's scoring."""

    class Broken(Scorer):
        def score_many(self, windows):
            raise IndexError("too many outputs")

    await bench.begin(2, Broken)
    await bench.poll(2)
    failure, _ = bench.trials.finding(KIND)
    assert failure is not None
    assert failure.check == "health: scoring"
    assert bench.versions == [1] * 4


async def test_without_a_trial_nothing_follows_a_poll(bench):
    assert bench.poller.afterwards is None
    await bench.begin(2)
    assert bench.poller.afterwards is not None
    bench.trials.end(KIND)
    assert bench.poller.afterwards is None
