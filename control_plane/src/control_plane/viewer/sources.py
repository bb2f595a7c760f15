"""What is looked at: the newest cycles of a component as the lake has them, or those of a CSV file."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from control_plane.api.lake_follower import LAKE_ERRORS
from control_plane.layout import Layout
from control_plane.serving.published_specs import PublishedSpecs
from control_plane.serving.window_file import read_window_file
from control_plane.sinks.lake import LakeReader
from shared.errors import Rejected, Retryable
from shared.reactor_config import Component, FleetConfig, Tag
from shared.schemas import ComponentId, Manifest, Telemetry, Window, utc_now
from shared.window_buffer import MIN_CYCLES, WindowBuffer

NEWEST_WITHIN = timedelta(hours=1)  # where the newest cycles are looked for first: it spares reading years
SHOWN_DIGITS = 6  # of float32's seven, so that 71.2 does not read 71.19999694824219
FILE_PLACE = (
    "exploration",
    "csv",
)  # site and reactor of what comes from a file: on the record it is nobody's
EVER = datetime(1970, 1, 1, tzinfo=UTC)

_SPAN = """SELECT max(timestamp) AS newest FROM telemetry
    WHERE site_id = $site_id AND reactor_id = $reactor_id AND component = $component"""
_ROWS = """SELECT timestamp, cycle, metrics, quality FROM telemetry
    WHERE site_id = $site_id AND reactor_id = $reactor_id AND component = $component AND timestamp >= $since
    ORDER BY timestamp DESC, seq DESC LIMIT $rows"""


@dataclass(frozen=True, slots=True, eq=False)  # Gradio takes the hash of what it keeps
class Loaded:
    """A window as long as `manifest`'s release takes, and where it is from, in words.

    `tags` are their units and descriptions; `component` the configured one, with its thresholds, None for
    a file.
    """

    window: Window
    manifest: Manifest
    source: str
    tags: Mapping[str, Tag]
    component: Component | None = None

    def newest(self) -> dict[str, float | None]:
        """Each tag's newest good value, with the digits that a form shows."""
        found: dict[str, float | None] = {}
        for tag, column in zip(self.window.tags, self.window.values.T, strict=True):
            good = column[np.isfinite(column)]
            found[tag] = float(f"{good[-1]:.{SHOWN_DIGITS}g}") if len(good) else None
        return found


class Sources:
    """Reads the lake and the image repository under the centre's folder; every call raises Rejected or
    Retryable in words for the person who asked."""

    def __init__(self, layout: Layout, fleet: FleetConfig) -> None:
        self._reader, self._releases = LakeReader(layout.lake), PublishedSpecs(layout.repository)
        self._fleet = fleet

    def components(self) -> list[str]:
        """The fleet's, as `site/reactor/component`."""
        return [place.key for place in self._fleet.components()]

    def types(self) -> list[str]:
        """The component types of the fleet."""
        return sorted({component.type for component in self._fleet.components().values()})

    def of_component(self, key: str) -> Loaded:
        """Its newest cycles, put together as at the edge."""
        place = ComponentId.from_key(key)
        component = self._fleet.components()[place]
        manifest = self._releases.manifest(component.type)
        buffer, window, readings = WindowBuffer(place, component.type, manifest.feature_spec), None, 0
        for row in self._newest(place, manifest.feature_spec.window_cycles):
            telemetry = Telemetry(
                **place._asdict(), timestamp=row["timestamp"], cycle=row["cycle"],
                metrics=dict(row["metrics"] or ()), quality=dict(row["quality"] or ()),
            )  # fmt: skip
            window, readings = buffer.push(telemetry) or window, readings + 1
        if window is None:
            raise Rejected(_too_short(f"the lake has of {key}", readings, manifest))
        source = f"{key}, newest {_cycles(window)} cycles up to {window.timestamp:%Y-%m-%d %H:%M:%S} UTC"
        return Loaded(window, manifest, source, component.tags, component)

    def of_file(self, path: Path, component_type: str) -> Loaded:
        """The file's last cycles, oldest first."""
        manifest = self._releases.manifest(component_type)
        spec = manifest.feature_spec
        tags, rows = read_window_file(path, spec.tags, path.name)
        if len(rows) < MIN_CYCLES:
            raise Rejected(_too_short(f"{path.name}: found", len(rows), manifest))
        values = np.full((spec.window_cycles, len(tags)), np.nan, np.float32)
        used = rows[-spec.window_cycles :]
        values[-len(used) :] = used
        place = ComponentId(*FILE_PLACE, component_type)
        window = Window(place, component_type, None, utc_now(), tags, values)
        source = f"{path.name}, the last {len(used)} of {len(rows)} cycles"
        return Loaded(window, manifest, source, self._tags(component_type))

    def _newest(self, place: ComponentId, rows: int) -> list[dict[str, Any]]:
        """So many rows, oldest first."""
        try:
            return self._asked(place, rows)
        except LAKE_ERRORS as error:
            raise Retryable(f"the lake cannot be read: {error}") from error

    def _asked(self, place: ComponentId, rows: int) -> list[dict[str, Any]]:
        asked = place._asdict()
        newest = self._reader.rows(_SPAN, **asked)[0]["newest"]
        if newest is None:
            raise Rejected(
                f"the lake has no telemetry of {place.key}: is its agent running, and has ingest read it?"
            )
        found = self._reader.rows(_ROWS, **asked, since=newest - NEWEST_WITHIN, rows=rows)
        if len(found) < rows:
            found = self._reader.rows(_ROWS, **asked, since=EVER, rows=rows)
        return found[::-1]

    def _tags(self, component_type: str) -> Mapping[str, Tag]:
        of_type = (c.tags for c in self._fleet.components().values() if c.type == component_type)
        return next(of_type, {})


def _cycles(window: Window) -> int:
    """How many of its rows hold any number."""
    return int(np.count_nonzero(np.isfinite(window.values).any(axis=1)))


def _too_short(found: str, rows: int, manifest: Manifest) -> str:
    spec = manifest.feature_spec
    return (
        f"{found} {rows} cycles: too few. {manifest.folder} looks at {spec.window_cycles}, and says nothing "
        f"below {MIN_CYCLES}; load more rows, one a cycle, oldest first"
    )
