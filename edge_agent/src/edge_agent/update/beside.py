"""What the updater needs of whoever lets two models run beside each other."""

from typing import Protocol

from edge_agent.update.health import Failure
from edge_agent.update.release import Release


class Beside(Protocol):
    """For each component type at most one model runs beside the one in use."""

    async def check(self, release: Release) -> None:
        """Load it on this machine and recompute its golden windows; Untrusted names what failed."""
        ...

    def can_try(self, component_type: str) -> bool:
        """Whether there is a model in use to try another beside."""
        ...

    async def begin(self, release: Release) -> None:
        """Let it run beside the one in use; Untrusted when it cannot."""
        ...

    async def watch(self, previous: Release) -> None:
        """Let it run beside the one in use, which is the one that is judged; Untrusted when it cannot."""
        ...

    async def promote(self, component_type: str) -> None:
        """The two change places: the one that was tried is in use, and is judged further."""
        ...

    def end(self, component_type: str) -> None:
        """Only the one in use runs."""
        ...

    def finding(self, component_type: str) -> tuple[Failure | None, bool]:
        """The check that failed, and whether enough was seen."""
        ...


class _Alone:
    """Nothing runs beside anything: a release is committed once it is checked."""

    async def check(self, _: Release) -> None:
        return

    def can_try(self, _: str) -> bool:
        return False

    async def begin(self, _: Release) -> None:
        return

    async def watch(self, _: Release) -> None:
        return

    async def promote(self, _: str) -> None:
        return

    def end(self, _: str) -> None:
        return

    def finding(self, _: str) -> tuple[Failure | None, bool]:
        return None, False


ALONE: Beside = _Alone()
