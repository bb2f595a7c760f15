"""The newest published release of each component type, ready to run."""

from pathlib import Path

import structlog

from control_plane.audit.centre_log import CentreLog
from control_plane.release.gates import note_gate, validate_feature_schema, verify_model_registration
from control_plane.release.image import ImageRepository
from shared.errors import Rejected, Untrusted
from shared.onnx_model import OnnxModel
from shared.schemas import Manifest

log = structlog.get_logger()


class PublishedModels:
    """Models of the image repository; what is published later is taken up without a restart."""

    def __init__(self, repository: Path, record: CentreLog | None = None) -> None:
        self._repository, self._record = repository, record
        self._judged: set[str] = set()
        self._seen: int | None = None
        self._models: dict[str, OnnxModel] = {}

    def get(self, component_type: str) -> OnnxModel:
        """The model for a type; Rejected when none is published."""
        if component_type not in self._models:
            known = ", ".join(sorted(self._models)) or "none"
            raise Rejected(f"no published model for component type {component_type!r}; there are: {known}")
        return self._models[component_type]

    def refresh(self) -> None:
        """Load what has been published since the last look. Blocking. A release that fails is left out."""
        targets = self._repository / "image" / "metadata" / "targets.json"
        stamp = targets.stat().st_mtime_ns if targets.exists() else None
        if stamp in (None, self._seen):
            return
        image = ImageRepository(self._repository)
        newest: dict[str, OnnxModel] = {}
        for release in image.releases():
            try:
                manifest, data = image.release(release)
                model = OnnxModel(manifest, data)
            except (Rejected, Untrusted) as error:
                log.error("release not served", release=release, reason=str(error))
                continue
            self._judge(image, manifest, data)
            kind = model.manifest.component_type
            if kind not in newest or newest[kind].manifest.version < model.manifest.version:
                newest[kind] = model
        self._models, self._seen = newest, stamp

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
