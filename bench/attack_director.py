"""Attacks with a *stolen director key*: it may choose among approved releases, and nothing else."""

import hashlib

from tuf.api.metadata import TargetFile

from bench.attack_stage import Attack, Stage
from tests.support.releases import KIND, make_release

DIRECTOR = "the director key"
OTHER_KIND = "heat_exchanger"
MANY = 101  # targets: one more than the agent takes
LONG = 5_000  # characters of a name


def _chosen(manifest_bytes: bytes, model: bytes, folder: str) -> dict[str, TargetFile]:
    files = {"model.onnx": model, "manifest.json": manifest_bytes}
    return {
        f"{folder}/{name}": TargetFile.from_data(f"{folder}/{name}", data) for name, data in files.items()
    }


def unapproved(stage: Stage) -> None:
    """A release of the thief's own, its files beside the approved ones."""
    manifest, model = stage.next_release()
    files = {"model.onnx": model, "manifest.json": manifest.model_dump_json().encode()}
    folder = stage.shown / "image" / "targets" / manifest.folder
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    stage.assign(_chosen(files["manifest.json"], files["model.onnx"], manifest.folder))


def other_bytes(stage: Stage) -> None:
    """The name of an approved release, with bytes of the thief's own."""
    manifest, model = stage.next_release()
    stage.approve_release(manifest, model)
    _, evil = make_release(bias=-1.0)
    path = f"{manifest.folder}/model.onnx"
    (stage.shown / "image" / "targets" / path).write_bytes(evil)
    stage.assign(_chosen(manifest.model_dump_json().encode(), evil, manifest.folder))


def other_length(stage: Stage) -> None:
    """The hash of an approved file, and another length."""
    manifest, model = stage.next_release()
    files = stage.approve_release(manifest, model)
    target = files[f"{manifest.folder}/model.onnx"]
    files[target.path] = TargetFile(target.length + 1, target.hashes, target.path)
    stage.assign(files)


def weak_hash(stage: Stage) -> None:
    """An approved name by a hash that can be forged."""
    manifest, model = stage.next_release()
    files = stage.approve_release(manifest, model)
    target = files[f"{manifest.folder}/model.onnx"]
    weak = hashlib.md5(model, usedforsecurity=False).hexdigest()
    files[target.path] = TargetFile(target.length, {"md5": weak}, target.path)
    stage.assign(files)


def mixed_files(stage: Stage) -> None:
    """An approved model with the manifest of another approved release, under the first one's name."""
    one, other = stage.next_release(), stage.next_release()
    files = stage.approve_release(*one) | stage.approve_release(*other)
    manifest, target = f"{one[0].folder}/manifest.json", files[f"{other[0].folder}/manifest.json"]
    chosen = {path: files[path] for path in files if path.startswith(one[0].folder)}
    stage.assign(chosen | {manifest: TargetFile(target.length, target.hashes, manifest)})


def half_a_release(stage: Stage) -> None:
    """An approved model without its manifest."""
    manifest, model = stage.next_release()
    files = stage.approve_release(manifest, model)
    stage.assign({path: target for path, target in files.items() if path.endswith("model.onnx")})


def other_type(stage: Stage) -> None:
    """An approved release, for a component type that it was not made for."""
    manifest, model = make_release(kind=OTHER_KIND, version=next(stage.versions))
    stage.assign(stage.approve_release(manifest, model), component_type=KIND)


def two_active(stage: Stage) -> None:
    """Two approved releases at once for one component type."""
    stage.assign(stage.approve_release(*stage.next_release()) | stage.approve_release(*stage.next_release()))


def unknown_mode(stage: Stage) -> None:
    stage.assign(stage.approve_release(*stage.next_release()), mode="unchecked")


def more_words(stage: Stage) -> None:
    """A field that this agent does not know, lest it mean something to a later one."""
    stage.assign(stage.approve_release(*stage.next_release()), skip_checks=True)


def stale(stage: Stage) -> None:
    """A generation lower than the site has seen: an old roll-out comes again."""
    stage.assign_good()
    stage.take_honestly()
    stage.assign(stage.approve_release(*stage.next_release()), generation=1)


def many(stage: Stage) -> None:
    """More targets than a site can have use for."""
    target = TargetFile.from_data("x", b"")
    stage.assign({f"{KIND}/{number}/model.onnx": target for number in range(MANY)})


def named(path: str) -> Attack:
    """A target whose name leads elsewhere, or nowhere."""

    def prepare(stage: Stage) -> None:
        manifest, model = stage.next_release()
        name = path.format(version=manifest.version)
        files = stage.approve({name: model}, "alice", "carol", target_bytes=False)
        stage.assign(files)

    shown = path if len(path) < 60 else f"{path[:12]}… ({len(path):,} characters)"
    return Attack(f"target named {shown!a}", f"two approvers' keys, {DIRECTOR}", "target path", prepare)


PATHS = (
    "../../data/models.db",
    "/etc/edge-agent/trust/image_root.json",
    "coolant_pump/../../../evil/{version}/model.onnx",
    "coolant_pump/{version}/%2e%2e%2fmodel.onnx",
    "..\\..\\{version}\\model.onnx",
    "coolant_pump/{version}/model.onnx\0.txt",
    "coolant_pump/{version}/model.onnx?x=/manifest.json",
    "c\u043e\u043elant_pump/{version}/model.onnx",  # Cyrillic o
    "coolant_pump/\u0661/model.onnx",  # an Arabic 1
    "http://127.0.0.1:1/model.onnx",
    f"{'a' * LONG}/{{version}}/model.onnx",
    f"coolant_pump/{'9' * LONG}/model.onnx",
)

ATTACKS = [
    Attack("a release that nobody approved", DIRECTOR, "image repository", unapproved),
    Attack("an approved name with other bytes", DIRECTOR, "director and image agree", other_bytes),
    Attack("an approved hash with another length", DIRECTOR, "director and image agree", other_length),
    Attack("an approved name by an MD5 hash", DIRECTOR, "director and image agree", weak_hash),
    Attack("one release's model, another's manifest", DIRECTOR, "director and image agree", mixed_files),
    Attack("an approved model without its manifest", DIRECTOR, "director and image agree", half_a_release),
    Attack("an approved release for another type", DIRECTOR, "component type", other_type),
    Attack("two active releases for one type", DIRECTOR, "director assignment", two_active),
    Attack("a mode that does not exist", DIRECTOR, "director assignment", unknown_mode),
    Attack("an assignment with a word more", DIRECTOR, "director assignment", more_words),
    Attack("stale generation", DIRECTOR, "stale generation", stale),
    Attack("more targets than a site can use", DIRECTOR, "director targets", many),
    *(named(path) for path in PATHS),
]
