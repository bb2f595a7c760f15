"""A model small enough to make in a test, and a centre with keys that signs it."""

import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import TargetFile, Targets

from control_plane.layout import Layout
from control_plane.release.controller import files_of
from control_plane.release.director import Director
from control_plane.release.image import ImageRepository
from control_plane.release.journal import Event, Kind
from control_plane.release.keys import generate, load_public, load_signer
from control_plane.release.metadata_files import OFFLINE_EXPIRY, load, next_version, publish, renew, write
from shared.config_defaults import builtin_types
from shared.errors import Untrusted
from shared.features import FeatureSpec
from shared.onnx_model import OnnxModel
from shared.reactor_config import parse_fleet
from shared.schemas import Assignment, GoldenWindow, Manifest, TagReference, utc_now

PASSPHRASE = "test-only"  # noqa: S105
PEOPLE = ("alice", "bob", "carol")
PROPOSER = "dave"
KIND = "coolant_pump"
OUTPUTS = ["anomaly_score", "ood_score", "rul"]

assert KIND in builtin_types()


def spec(kind: str = KIND) -> FeatureSpec:
    """The feature spec of a built-in type."""
    component = next(iter(parse_fleet({"S": {"R": {kind: {}}}}, "test").components().values()))
    return FeatureSpec(component_type=kind, tags=tuple(component.tags))


def graph(features: int, bias: float = 0.0) -> bytes:
    """Scores the mean of the features: anomaly = |mean| / 1000, ood = 0, rul = mean + (0, 1, 2) + bias."""
    node, constant = helper.make_node, helper.make_tensor
    nodes = [
        node("ReduceMean", ["features"], ["mean3"], axes=[1, 2], keepdims=1),
        node("Reshape", ["mean3", "column"], ["mean"]),
        node("Mul", ["mean", "milli"], ["scaled"]),
        node("Abs", ["scaled"], ["anomaly_score"]),
        node("Mul", ["mean", "zero"], ["ood_score"]),
        node("Add", ["mean", "steps"], ["rul"]),
    ]
    constants = [
        constant("column", TensorProto.INT64, [2], [-1, 1]),
        constant("milli", TensorProto.FLOAT, [1], [0.001]),
        constant("zero", TensorProto.FLOAT, [1], [0.0]),
        constant("steps", TensorProto.FLOAT, [1, 3], [bias, bias + 1, bias + 2]),
    ]
    inputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", None, features])]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3 if name == "rul" else 1])
        for name in OUTPUTS
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", inputs, outputs, constants),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def make_release(
    kind: str = KIND, version: int = 1, bias: float = 0.0, **changes: object
) -> tuple[Manifest, bytes]:
    """A sound release; `changes` replace fields of the manifest."""
    feature_spec = spec(kind)
    model = graph(feature_spec.shape[1], bias)
    window = np.linspace(1, 2, feature_spec.window_cycles * len(feature_spec.tags), dtype="<f4")
    fields = {
        "name": kind,
        "version": version,
        "component_type": kind,
        "sha256": hashlib.sha256(model).hexdigest(),
        "feature_spec": feature_spec,
        "feature_spec_hash": feature_spec.hash(),
        "outputs": OUTPUTS,
        "horizon_cycles": 1e6,
        "anomaly_threshold": 1e6,
        "ood_threshold": 1.0,
        "training_data_version": "none",
        "metrics": {},
        "calibration": {},
        "golden": [GoldenWindow(window=b"", outputs={})],
        "golden_tolerance": 1e-4,
        "oldest_agent_version": "0.1.0",
        "created": utc_now(),
    }
    draft = Manifest(**fields)
    values = window.reshape(1, feature_spec.window_cycles, -1)
    found = OnnxModel(draft, model).run(values)
    golden = GoldenWindow(
        window=window.tobytes(), outputs={n: [float(x) for x in np.ravel(v)] for n, v in found.items()}
    )
    return Manifest(**(fields | {"golden": [golden]} | changes)), model


def references(feature_spec: FeatureSpec, normal: float = 4.0, **changes: object) -> dict[str, TagReference]:
    """The same for every tag; `changes` replace fields."""
    fields = {"unit": "bar", "normal": (normal,), "spread": 1.0, "stands_still": False} | changes
    return {tag: TagReference(**fields) for tag in feature_spec.tags}


def write_release(folder: Path, manifest: Manifest, model: bytes) -> Path:
    """The folder that `control-plane train` would leave."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return folder


@dataclass
class Centre:
    """A centre's folder with keys, a signed image repository and a director per site."""

    folder: Path
    sites: tuple[str, ...] = ("TX01",)
    trust: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.layout = Layout(self.folder / "centre")
        self.image = ImageRepository(self.layout.repository)
        self.keys = self.folder / "keys"
        names = (*PEOPLE, PROPOSER, "online", *(f"director-{site}" for site in self.sites))
        for name in names:
            generate(self.keys, name, PASSPHRASE)
        people = {name: self.public(name) for name in PEOPLE}
        proposal = self.image.begin(people, self.public("online"), 2, {PROPOSER: self.public(PROPOSER)})
        self.approve(proposal, "alice", "bob")
        self.image.publish(proposal, self.signer("online"))
        for site in self.sites:
            director = Director(self.layout.repository, site)
            director.begin(self.signer(f"director-{site}"))
            trust = self.trust[site] = self.folder / "trust" / site
            trust.mkdir(parents=True)
            (trust / "image_root.json").write_bytes(self.image.root.read_bytes())
            (trust / "director_root.json").write_bytes(director.root.read_bytes())

    def signer(self, name: str) -> CryptoSigner:
        return load_signer(self.keys / f"{name}.pem", PASSPHRASE)

    def public(self, name: str) -> SSlibKey:
        return load_public(self.keys / f"{name}.pub", name)

    def propose(self, *releases: Path, by: str = PROPOSER) -> Path:
        """Propose release folders; the proposal's folder."""
        return self.image.propose(releases, self.signer(by))

    def approve(self, proposal: Path, *names: str) -> None:
        for name in names:
            self.image.approve(proposal, self.signer(name))

    def publish(self, manifest: Manifest, model: bytes) -> str:
        """Propose, approve twice, publish; `name/version`. What fails its golden windows here is signed too:
        on the machines of proposer and approvers it passed."""
        release = write_release(self.folder / "out" / manifest.folder, manifest, model)
        try:
            proposal = self.propose(release)
        except Untrusted:
            return self.publish_unchecked(manifest, release)
        self.approve(proposal, "alice", "carol")
        self.image.publish(proposal, self.signer("online"))
        return manifest.folder

    def publish_unchecked(self, manifest: Manifest, release: Path) -> str:
        """What two approvers' keys and the online key can do, without a check of ours; `name/version`."""
        metadata, files = self.metadata("image", ""), self.layout.repository / "image" / "targets"
        targets = load(metadata / "targets.json", Targets)
        next_version(targets, OFFLINE_EXPIRY)
        for name in ("model.onnx", "manifest.json"):
            path = f"{manifest.folder}/{name}"
            write(files / path, (release / name).read_bytes())
            targets.signed.targets[path] = TargetFile.from_file(path, str(files / path))
        for name in ("alice", "carol"):
            targets.sign(self.signer(name), append=True)
        publish(targets, metadata)
        renew(metadata, self.signer("online"))
        return manifest.folder

    def roll_out(self, release: str, *sites: str) -> str:
        """Assign a release to sites at once, as a centre did before it had plans; the roll-out's id."""
        chosen, (manifest, _) = sites or self.sites, self.image.release(release)
        directors = {site: Director(self.layout.repository, site) for site in chosen}
        rollout_id = f"{release.replace('/', '-')}-{uuid.uuid4().hex[:8]}"
        generation = 1 + max(director.generation() for director in directors.values())
        assignment = Assignment(
            component_type=manifest.component_type,
            mode="active",
            rollout_id=rollout_id,
            generation=generation,
        )
        files = files_of(self.image.targets(), release)
        lines = [Event(rollout_id, generation, "", Kind.STARTED, release, utc_now())]
        for site, director in directors.items():
            director.assign(files, assignment, self.signer(f"director-{site}"))
            lines.append(Event(rollout_id, generation, site, Kind.COMMANDED, release, utc_now()))
        self.layout.store().append(lines)
        return rollout_id

    def metadata(self, repository: str, name: str) -> Path:
        """A metadata file, for a test to change."""
        return self.layout.repository / repository / "metadata" / name

    def change_json(self, path: Path, change: Callable[[Any], object]) -> None:
        """Rewrite a signed file without signing it again."""
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
