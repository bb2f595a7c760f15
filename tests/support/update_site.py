"""An agent's update room against a centre; what runs beside the model in use is found as a test tells."""

from pathlib import Path

from edge_agent.scoring import Scorer
from edge_agent.update import Answer, Failure, ModelSlots, Release, ReleaseClient, State, Updater
from shared.schemas import AuditEvent
from tests.support.releases import Centre

SITE = "TX01"
SICK = Failure("health: shift", "differs by 0.40 of the horizon")
NOTHING_YET: tuple[Failure | None, bool] = (None, False)
WELL: tuple[Failure | None, bool] = (None, True)


class Beside:
    """Where models run beside each other: `found` is what comes of it."""

    def __init__(self, scoring: dict[str, str]) -> None:
        self.scoring, self.beside = scoring, dict[str, str]()
        self.found = NOTHING_YET

    async def check(self, release: Release) -> None:
        Scorer.load(release.manifest, release.model)

    def can_try(self, _: str) -> bool:
        return True

    async def begin(self, release: Release) -> None:
        self.beside[release.manifest.component_type] = release.manifest.folder

    watch = begin

    async def promote(self, kind: str) -> None:
        self.scoring[kind], self.beside[kind] = self.beside[kind], self.scoring[kind]
        self.found = NOTHING_YET

    def end(self, component_type: str) -> None:
        del self.beside[component_type]
        self.found = NOTHING_YET

    def finding(self, _: str) -> tuple[Failure | None, bool]:
        return self.found


class TrialSite:
    """A site; another one over the same folder is the same site after a restart."""

    def __init__(self, centre: Centre, url: str, folder: Path) -> None:
        self.centre, self.url, self.folder = centre, url, folder
        self.trust = centre.trust[SITE]
        self.client = ReleaseClient(folder, self.trust, url, SITE)
        self.slots = ModelSlots(folder, self.trust)
        self.scoring: dict[str, str] = {}
        self.beside = Beside(self.scoring)
        self.record: list[tuple[AuditEvent, dict]] = []
        self.told: list[Answer] = []
        self.held: str | None = None
        self.updater = Updater(
            self.client, self.slots, self.install, self.note, beside=self.beside,
            tell=self.told.append, held=lambda: self.held,
        )  # fmt: skip

    async def install(self, release: Release) -> None:
        Scorer.load(release.manifest, release.model)
        self.scoring[release.manifest.component_type] = release.manifest.folder

    async def note(self, event: AuditEvent, detail: dict) -> None:
        self.record.append((event, detail))

    async def look(self) -> tuple[State, str]:
        """Look at the repositories; what the site says of its pump then."""
        outcome = await self.updater.apply()
        assert not outcome.away and not outcome.problem, outcome  # noqa: PT018
        return self.says

    async def judge(self, found: tuple[Failure | None, bool]) -> tuple[State, str]:
        """What comes of it when the place beside finds this."""
        self.beside.found = found
        await self.updater.judge()
        return self.says

    @property
    def says(self) -> tuple[State, str]:
        answer = self.updater.answers[0]
        return answer.state, answer.detail

    @property
    def events(self) -> list[str]:
        return [event.value for event, _ in self.record]

    async def restarted(self) -> "TrialSite":
        """The same site after it ended unasked, and perhaps without its centre."""
        again = TrialSite(self.centre, self.url, self.folder)
        await again.updater.resume()
        return again
