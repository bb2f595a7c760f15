"""What was checked of one log, and what is wrong with it."""

from dataclasses import dataclass, field

PROBLEMS_MAX = 20  # a report names the first ones; thousands more say nothing new


@dataclass
class SiteVerification:
    """What was checked and what is wrong. `covered` entries stand under a checkpoint that holds.

    `source` is where the entries were read: `lake` (the tables), `tiles` (the files) or `log`.
    """

    site: str
    source: str = "lake"
    entries: int = 0
    checkpoints: int = 0
    witnessed: int = 0
    covered: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def verified(self) -> bool:
        """Nothing is wrong, and at least one checkpoint covers at least one entry."""
        return not self.problems and self.covered > 0

    @property
    def uncovered(self) -> int:
        """Entries newer than the last checkpoint."""
        return self.entries - self.covered

    def note(self, problem: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)
