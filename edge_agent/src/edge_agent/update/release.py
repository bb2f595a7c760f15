"""A verified release in memory."""

import hashlib
import json
from dataclasses import dataclass

from shared.errors import Untrusted
from shared.schemas import Assignment, Manifest


@dataclass(frozen=True, slots=True)
class Release:
    """Bytes that verified against both repositories, and the signed metadata that says so.

    `image_targets` and `director_targets` are the raw metadata files, `roots` a JSON object of both
    repositories' roots after the trusted one: evidence that can be checked again without a network, and
    without the metadata cache, which is not flushed and may be wiped.
    """

    manifest: Manifest
    manifest_bytes: bytes
    model: bytes
    assignment: Assignment
    image_targets: bytes
    director_targets: bytes
    roots: str = "{}"

    @property
    def sha256(self) -> str:
        """SHA-256 of the model's bytes, in hex."""
        return hashlib.sha256(self.model).hexdigest()

    @property
    def component_type(self) -> str:
        """What it is for."""
        return self.manifest.component_type

    @property
    def identity(self) -> str:
        """SHA-256 of the manifest, which names the model's bytes: thresholds make another release of them."""
        return hashlib.sha256(self.manifest_bytes).hexdigest()


def parse_manifest(data: bytes, folder: str, model: bytes) -> Manifest:
    """The manifest of a release folder; Untrusted when it is not that folder's, or not that model's."""
    try:
        json.loads(data, object_pairs_hook=_each_once)
        manifest = Manifest.model_validate_json(data)
    except (ValueError, RecursionError) as error:
        raise Untrusted("manifest", f"{folder}/manifest.json: {str(error)[:300]}") from error
    if manifest.folder != folder:
        raise Untrusted("manifest", f"{folder}/manifest.json says it is {manifest.folder}")
    if hashlib.sha256(model).hexdigest() != manifest.sha256:
        raise Untrusted("sha256", f"{folder}/model.onnx is not the model of its manifest")
    return manifest


def _each_once(pairs: list[tuple[str, object]]) -> None:
    """ValueError when a key comes twice: people would read the one, the machine take the other."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError(f"has a key twice among {[name for name, _ in pairs][:20]}")
