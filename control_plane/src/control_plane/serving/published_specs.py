"""Which features the published release of a component type takes, for those who make windows."""

import time
from pathlib import Path

import structlog

from control_plane.release.image import ImageRepository
from shared.errors import Rejected, Untrusted
from shared.features import FeatureSpec
from shared.schemas import Manifest

LOOK_PERIOD_S = 2.0  # as the inference server's own

log = structlog.get_logger()


class NoRelease(Rejected):
    """No release is published for a component type."""


class PublishedSpecs:
    """The newest release's of each type; what is published later is taken up without a restart."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._seen: int | None = None
        self._look_at = 0.0
        self._newest: dict[str, Manifest] = {}

    def __call__(self, component_type: str) -> FeatureSpec:
        """NoRelease when there is none for the type."""
        return self.manifest(component_type).feature_spec

    def manifest(self, component_type: str) -> Manifest:
        """All that the release says of itself; NoRelease when there is none for the type."""
        self._refresh()
        if component_type not in self._newest:
            raise NoRelease(f"no published model for component type {component_type!r}")
        return self._newest[component_type]

    def _refresh(self) -> None:
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_PERIOD_S
        targets = self._repository / "image" / "metadata" / "targets.json"
        stamp = targets.stat().st_mtime_ns if targets.exists() else None
        if stamp in (None, self._seen):
            return
        image, newest = ImageRepository(self._repository), dict[str, Manifest]()
        for release in image.releases():
            try:
                manifest, _ = image.release(release)
            except (Rejected, Untrusted) as error:
                log.error("no windows made for a release", release=release, reason=str(error))
                continue
            known = newest.get(manifest.component_type)
            if known is None or known.version < manifest.version:
                newest[manifest.component_type] = manifest
        self._newest = newest
        self._seen = stamp
