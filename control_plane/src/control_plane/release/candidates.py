"""A release to propose, gathered from a folder or from the registry, through the soft gates (PRD 7.3)."""

import json
from pathlib import Path

from control_plane.audit.centre_log import CentreLog
from control_plane.registry.mlflow_registry import ModelRegistry
from control_plane.release.gates import (
    note_gate,
    read_release,
    validate_feature_schema,
    verify_model_registration,
)
from control_plane.release.image import Candidate
from shared.errors import Rejected
from shared.schemas import Manifest

REPORT_FILE = "report.json"  # as `control-plane validate` leaves it
EVIDENCE_BYTES_MAX = 1024 * 1024  # a report is a few kilobytes


def from_registry(model_uri: str, registry: ModelRegistry, folder: Path) -> Candidate:
    """Write a registered version into `folder`, with its metrics and its validation report if it has one.

    Rejected when it is not registered; Untrusted when the stored bytes are not its manifest's.
    """
    model, manifest = registry.load_model(model_uri)
    place = registry.locate(model_uri)
    if place.name is None or place.version is None:
        raise Rejected(f"{model_uri} is a run; only a registered version can be released")
    if (place.name, place.version) != (manifest.name, manifest.version):
        raise Rejected(f"{model_uri}: its manifest says it is {manifest.folder}; register it anew")
    target = folder / manifest.folder
    target.mkdir(parents=True, exist_ok=True)
    (target / "model.onnx").write_bytes(model)
    (target / "manifest.json").write_text(manifest.model_dump_json(indent=2))
    metrics = json.dumps(registry.summary(place).metrics, indent=2, sort_keys=True).encode()
    report = registry.validation_report(manifest)
    evidence = {"metrics.json": metrics} | ({"report.json": report} if report else {})
    return Candidate(target, evidence, f"models:/{place.name}/{place.version}")


def from_folder(folder: Path, registry: ModelRegistry | None) -> Candidate:
    """A folder as `control-plane train` leaves it; its registration is looked up by what it says it is."""
    manifest, _ = read_release(folder)
    evidence = {}
    report = folder / REPORT_FILE
    if report.exists():
        evidence[REPORT_FILE] = report.read_bytes()[:EVIDENCE_BYTES_MAX]
    uri = f"models:/{manifest.name}/{manifest.version}"
    found = verify_model_registration(uri, manifest, registry)
    return Candidate(folder, evidence, uri if found.passed else None)


def pass_gates(candidate: Candidate, registry: ModelRegistry | None, log: CentreLog) -> Manifest:
    """Run both soft gates, put each answer on record; Rejected when one fails."""
    manifest, model = read_release(candidate.folder)
    uri = candidate.registered or f"models:/{manifest.name}/{manifest.version}"
    gates = (
        validate_feature_schema(manifest, manifest.feature_spec, model),
        verify_model_registration(uri, manifest, registry),
    )
    for gate in gates:
        note_gate(log, manifest.folder, "release", gate)
    failed = [f"{gate.name}: {gate.reason}" for gate in gates if not gate.passed]
    if failed:
        raise Rejected(f"{manifest.folder}: {'; '.join(failed)}")
    return manifest
