"""What every source is, whatever its protocol."""

import math
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from shared.reactor_config import Component
from shared.schemas import ComponentId, Quality, Telemetry


class Source(Protocol):
    """A device's components. Entering it fails for no plant: a plant that is away is bad quality."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def read(self) -> list[Telemetry]:
        """One poll: exactly one Telemetry per component, each tag in `metrics` or in `quality`."""
        ...


def judged(
    component_id: ComponentId,
    component: Component,
    timestamp: datetime,
    cycle: int | None,
    read: Mapping[str, float | Quality],
) -> Telemetry:
    """The poll's record: numbers that are finite and within their tag's range, a reason for the rest."""
    metrics: dict[str, float] = {}
    quality: dict[str, Quality] = {}
    for name, tag in component.tags.items():
        value = read[name]
        if isinstance(value, Quality):
            quality[name] = value
        elif not math.isfinite(value):
            quality[name] = Quality.NOT_A_NUMBER
        elif tag.range is not None and not tag.range[0] <= value <= tag.range[1]:
            quality[name] = Quality.OUT_OF_RANGE
        else:
            metrics[name] = value
    return Telemetry(
        timestamp=timestamp, **component_id._asdict(), cycle=cycle, metrics=metrics, quality=quality
    )
