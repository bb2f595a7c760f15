"""Tells new cycles from repeated ones, and a stopped device from a slow one. Pure."""

from shared.schemas import ComponentId, Quality, Telemetry

STALE_POLLS_MAX = 5  # polls without a new cycle; an aligned plant gives one a poll, jitter costs one or two


class FreshnessGuard:
    """Follows the cycle counters of any number of components."""

    def __init__(self, stale_polls_max: int = STALE_POLLS_MAX) -> None:
        self._stale_polls_max = stale_polls_max
        self._seen: dict[ComponentId, tuple[int, int]] = {}  # last cycle, polls that repeated it

    def check(self, telemetry: Telemetry) -> Telemetry | None:
        """A new cycle as it is; None for a repeat; every tag STALE once the counter has stood still.

        A counter that goes back is a device that restarted: a new cycle. Without a counter (none is
        configured, or it could not be read) nothing can be told, and the reading passes.
        """
        cycle = telemetry.cycle
        if cycle is None:
            return telemetry
        last, repeats = self._seen.get(telemetry.component_id, (None, 0))
        repeats = repeats + 1 if cycle == last else 0
        self._seen[telemetry.component_id] = (cycle, repeats)
        if repeats == 0:
            return telemetry
        if repeats < self._stale_polls_max:
            return None
        tags = [*telemetry.metrics, *telemetry.quality]
        return telemetry.model_copy(update={"metrics": {}, "quality": dict.fromkeys(tags, Quality.STALE)})
