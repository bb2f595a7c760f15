"""The release of each component type that is served: published, its bytes as approved, ready to run.

MLflow has a say in *which* published release that is, where an alias is given; never in what its bytes are.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog

from control_plane.audit.centre_log import CentreLog
from control_plane.release.gates import note_gate, validate_feature_schema, verify_model_registration
from control_plane.release.image import ImageRepository
from shared.errors import Rejected, Retryable, Untrusted
from shared.golden import check_golden
from shared.onnx_model import OnnxModel
from shared.schemas import Manifest

ALIAS_PERIOD_S = 10.0  # between two questions to MLflow, which take it some milliseconds

log = structlog.get_logger()

Stamp = tuple[int | None, tuple[tuple[str, int], ...]]


class NotServed(Rejected):
    """No such model is served; the message names those that are."""


class Served(NamedTuple):
    """What is served for a component type. `registered` is the URI that its approvers signed, "" without one;
    `alias` the MLflow alias that chose it, "" where it is the newest."""

    model: OnnxModel
    registered: str
    alias: str


class Aliases(Protocol):
    """Where an alias leads: `control_plane.registry`'s."""

    name: str

    def versions(self) -> dict[str, int]:
        """The version that has the alias, by model; Retryable when nobody answers."""
        ...


class PublishedModels:
    """Models of the image repository; what is published later is taken up without a restart.

    Calls that began with the model before it end with that: it is let go with the last of them.
    """

    def __init__(
        self, repository: Path, record: CentreLog | None = None, aliases: Aliases | None = None
    ) -> None:
        self._repository, self._record, self._aliases = repository, record, aliases
        self._judged: set[str] = set()
        self._seen: Stamp | None = None
        self._wanted: dict[str, int] = {}
        self._ask_at = 0.0
        self._served: dict[str, Served] = {}

    def get(self, component_type: str) -> OnnxModel:
        """The model for a type; NotServed when none is published."""
        found = self._served.get(component_type)
        if found is None:
            known = ", ".join(sorted(self._served)) or "none"
            raise NotServed(
                f"no published model for component type {component_type[:80]!r}; there are: {known}"
            )
        return found.model

    def named(self, name: str, version: int | None = None) -> OnnxModel:
        """The served release of this name, and of this version where one is given; else NotServed."""
        for served in self._served.values():
            manifest = served.model.manifest
            if manifest.name == name and version in (None, manifest.version):
                return served.model
        known = ", ".join(sorted(each.model.manifest.folder for each in self._served.values())) or "none"
        wanted = name[:80] if version is None else f"{name[:80]}/{version}"
        raise NotServed(f"model {wanted!r} is not served; there are: {known}")

    def served(self) -> list[Served]:
        """What is served now, by component type in order."""
        return [each for _, each in sorted(self._served.items())]

    def refresh(self) -> None:
        """Load what has been published, or been given the alias, since the last look. Blocking.

        A release that fails a check is left out, and the one before it goes on being served.
        """
        self._ask_for_aliases()
        targets = self._repository / "image" / "metadata" / "targets.json"
        stamp = (
            targets.stat().st_mtime_ns if targets.exists() else None,
            tuple(sorted(self._wanted.items())),
        )
        if stamp[0] is None or stamp == self._seen:
            return
        image = ImageRepository(self._repository)
        found: dict[str, Served] = {}
        for release, manifest in sorted(_readable(image), key=self._preference, reverse=True):
            if manifest.component_type not in found and (model := self._loaded(image, release, manifest)):
                named = image.registered(release)
                found[manifest.component_type] = Served(model, named, self._alias_of(manifest))
        self._tell(found)
        self._served, self._seen = found, stamp

    def _ask_for_aliases(self) -> None:
        if self._aliases is None or time.monotonic() < self._ask_at:
            return
        self._ask_at = time.monotonic() + ALIAS_PERIOD_S
        try:
            self._wanted = self._aliases.versions()
        except Retryable as error:
            log.warning("the aliases are as they were", reason=str(error))

    def _preference(self, release: tuple[str, Manifest]) -> tuple[bool, int]:
        """Greatest for what is rather served: what has the alias, else the newest."""
        return bool(self._alias_of(release[1])), release[1].version

    def _alias_of(self, manifest: Manifest) -> str:
        if self._aliases is None or self._wanted.get(manifest.name) != manifest.version:
            return ""
        return self._aliases.name

    def _loaded(self, image: ImageRepository, release: str, manifest: Manifest) -> OnnxModel | None:
        """The model in use where it is that one, else a new one that passed its golden windows here."""
        for served in self._served.values():
            if served.model.manifest == manifest:
                return served.model
        try:
            _, data = image.release(release)
            model = OnnxModel(manifest, data)
            check_golden(model)
        except (Rejected, Untrusted) as error:
            log.error("release not served", release=release, reason=str(error))
            return None
        self._judge(image, manifest, data)
        return model

    def _tell(self, found: dict[str, Served]) -> None:
        for kind, served in found.items():
            if kind not in self._served or self._served[kind].model is not served.model:
                log.info(
                    "release served",
                    component_type=kind,
                    release=served.model.manifest.folder,
                    registered=served.registered or "not registered",
                    alias=served.alias or "none: the newest",
                )
        for kind in self._served.keys() - found.keys():
            log.warning("no release is served any more", component_type=kind)

    def _judge(self, image: ImageRepository, manifest: Manifest, model: bytes) -> None:
        """Both soft gates (PRD 7.3), once a release: put on record, and served all the same."""
        if manifest.sha256 in self._judged:
            return
        self._judged.add(manifest.sha256)
        for gate in (
            validate_feature_schema(manifest, manifest.feature_spec, model),
            verify_model_registration(f"models:/{manifest.folder}", manifest, image),
        ):
            tell = log.info if gate.passed else log.warning
            tell("soft gate", gate=gate.name, release=manifest.folder, passed=gate.passed, reason=gate.reason)
            if self._record is not None:
                note_gate(self._record, manifest.folder, "serving", gate)


def _readable(image: ImageRepository) -> Iterator[tuple[str, Manifest]]:
    """Every published release whose bytes are those that were approved, without them."""
    for release in image.releases():
        try:
            yield release, image.release(release)[0]
        except (Rejected, Untrusted) as error:
            log.error("release not served", release=release, reason=str(error))
