"""Attacks on the way from the repositories to the site, and with keys that people do not sign with."""

import json
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Metadata, Root, Targets, Timestamp

from bench.attack_server import Handler
from bench.attack_stage import APPROVERS, AWAY, NEIGHBOUR, SITE, Attack, Stage, sign_next
from control_plane.release.keys import generate, load_public, load_signer
from control_plane.release.metadata_files import OFFLINE_EXPIRY, expires_in, load, publish, renew

NETWORK, ONLINE, ONE = "the network", "the online key", "one approver's key"
DIRECTOR, ONE_ONLINE = "the director key", "one approver's key, the online and the director key"
LIVES_S = 2  # a timestamp that is frozen until it expires
SLOW_BYTE_S = 0.5
ENDLESS = b"\0" * 65_536


# --- targets: other bytes than signed


def _released(stage: Stage) -> Path:
    """An honest new release is on its way; where its files lie, for the network to change."""
    manifest, model = stage.next_release()
    stage.assign(stage.approve_release(manifest, model))
    return stage.shown / "image" / "targets" / manifest.folder


def tampered(stage: Stage, file: str = "model.onnx") -> None:
    """One bit of a file."""
    path = _released(stage) / file
    data = bytearray(path.read_bytes())
    data[stage.chance.randrange(len(data))] ^= 1 << stage.chance.randrange(8)
    path.write_bytes(data)


def truncated(stage: Stage) -> None:
    path = _released(stage) / "model.onnx"
    path.write_bytes(path.read_bytes()[: stage.chance.randrange(1, path.stat().st_size)])


def cut_off(stage: Stage) -> None:
    """The connection ends before the length that was promised."""
    path = _released(stage) / "model.onnx"

    def trick(handler: Handler) -> None:
        handler.begin(path.stat().st_size)
        handler.wfile.write(path.read_bytes()[:-20])

    stage.server.tricks["model.onnx"] = trick


def over_long(stage: Stage) -> None:
    path = _released(stage) / "model.onnx"
    path.write_bytes(path.read_bytes() + b"\0")


def endless(stage: Stage) -> None:
    """A file that goes on for ever."""
    _released(stage)

    def trick(handler: Handler) -> None:
        handler.begin()
        while True:
            handler.wfile.write(ENDLESS)

    stage.server.tricks["model.onnx"] = trick


def inflated(stage: Stage) -> None:
    """A gigabyte of zeros as a megabyte of gzip."""
    _released(stage)
    compressed = stage.gzipped_zeros

    def trick(handler: Handler) -> None:
        handler.begin(len(compressed), Content_Encoding="gzip")
        handler.wfile.write(compressed)

    stage.server.tricks["model.onnx"] = trick


def dripping(stage: Stage) -> None:
    """A byte now and then: no read ever times out, and no answer ever ends."""

    def trick(handler: Handler) -> None:
        handler.begin(10_000)
        while True:
            handler.wfile.write(b" ")
            time.sleep(SLOW_BYTE_S)

    stage.server.tricks["timestamp.json"] = trick


def redirected(stage: Stage) -> None:
    """To another host, which the site has no business with."""
    _released(stage)
    stage.server.tricks["model.onnx"] = lambda handler: handler.begin(
        0, 302, Location=f"{stage.elsewhere.url}/model.onnx"
    )


# --- metadata: old, mixed, frozen, expired, malformed


def rolled_back(stage: Stage, repository: str = "image") -> None:
    """The metadata from before the newest, each file as it was signed then."""
    old = stage.folder / "old"
    shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(stage.metadata(repository), old)
    _newer(stage)
    stage.take_honestly()
    shutil.rmtree(stage.metadata(repository))
    shutil.copytree(old, stage.metadata(repository))


def wiped(stage: Stage) -> None:
    """The same, and the TUF client's cache on the site is gone."""
    rolled_back(stage)
    shutil.rmtree(stage.folder / "data" / "tuf")


def _newer(stage: Stage) -> None:
    """One more version of everything."""
    stage.approve({}, *APPROVERS)
    stage.assign_good()


def mixed(stage: Stage) -> None:
    """New timestamp and snapshot, with targets from before under the new one's name."""
    folder = stage.metadata("image")
    old = (folder / "targets.json").read_bytes()
    _newer(stage)
    newest = load(folder / "targets.json", Targets).signed.version
    (folder / f"{newest}.targets.json").write_bytes(old)


def mixed_snapshots(stage: Stage) -> None:
    """A new timestamp, with the snapshot from before under the new one's name."""
    folder = stage.metadata("image")
    old = (folder / "snapshot.json").read_bytes()
    _newer(stage)
    newest = load(folder / "timestamp.json", Timestamp).signed.snapshot_meta.version
    (folder / f"{newest}.snapshot.json").write_bytes(old)


def _expiring(stage: Stage, repository: str, when: datetime, key: str) -> None:
    path = stage.metadata(repository) / "timestamp.json"
    timestamp = load(path, Timestamp)
    timestamp.signed.version += 1
    timestamp.signed.expires = when.replace(microsecond=0)
    timestamp.sign(stage.centre.signer(key))
    publish(timestamp, path.parent)


def frozen(stage: Stage) -> None:
    """Sound metadata that the site took before, shown on and on."""
    ends = datetime.now(UTC) + timedelta(seconds=LIVES_S)
    stage.assign_good()
    _expiring(stage, f"director/{SITE}", ends, f"director-{SITE}")
    stage.take_honestly()
    time.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds()))


def expired(stage: Stage) -> None:
    _expiring(stage, "image", datetime.now(UTC) - timedelta(days=1), "online")


def expired_targets(stage: Stage) -> None:
    """Approvals that people gave more than a year ago."""
    folder = stage.metadata("image")
    metadata = load(folder / "targets.json", Targets)
    sign_next(metadata, folder, [])
    metadata.signed.expires = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    for signer in stage.signers(*APPROVERS):
        metadata.sign(signer, append=True)
    publish(metadata, folder)
    renew(folder, stage.centre.signer("online"))


def nested(stage: Stage) -> None:
    """JSON that opens more brackets than any parser follows."""
    (stage.metadata("image") / "timestamp.json").write_bytes(b"[" * 16_000)


def huge_metadata(stage: Stage) -> None:
    """Targets metadata of a gigabyte."""
    _newer(stage)

    def trick(handler: Handler) -> None:
        handler.begin()
        while True:
            handler.wfile.write(ENDLESS)

    stage.server.tricks[".targets.json"] = trick


def evil_twin(stage: Stage) -> None:
    """Duplicate JSON keys: `signed` twice, the approved text first, other text after it."""
    _newer(stage)
    folder = stage.metadata("image")
    text = (folder / "targets.json").read_text().rstrip()
    newest = load(folder / "targets.json", Targets).signed.version
    evil = Targets(version=newest, expires=expires_in(OFFLINE_EXPIRY))
    twin = Metadata(evil).to_dict()["signed"]
    (folder / f"{newest}.targets.json").write_text(f'{text[:-1]}, "signed": {json.dumps(twin)}}}')


# --- too few of the right keys


def published_by(stage: Stage, *names: str) -> None:
    """A release that these people signed, and the online key published."""
    manifest, model = stage.next_release()
    files = {f"{manifest.folder}/model.onnx": model, f"{manifest.folder}/manifest.json": b"{}"}
    stage.assign(stage.approve(files, *names))


def one_of_three(stage: Stage) -> None:
    published_by(stage, "alice")


def nobody(stage: Stage) -> None:
    published_by(stage)


def strangers(stage: Stage) -> None:
    """Enough signatures, of keys that the root does not know."""
    published_by(stage, "director-TX01", "director-ID01", "online")


def twice(stage: Stage) -> None:
    """One approver's signature, listed twice."""
    manifest, model = stage.next_release()
    stage.assign(stage.approve({f"{manifest.folder}/model.onnx": model}, "alice"))
    folder = stage.metadata("image")
    newest = load(folder / "targets.json", Targets).signed.version

    def double(document: dict[str, Any]) -> None:
        document["signatures"] *= 2

    stage.centre.change_json(folder / f"{newest}.targets.json", double)


def another_name(stage: Stage) -> None:
    """One approver's signature a second time, under the key id of another approver."""
    manifest, model = stage.next_release()
    stage.assign(stage.approve({f"{manifest.folder}/model.onnx": model}, "alice"))
    folder = stage.metadata("image")
    newest = load(folder / "targets.json", Targets).signed.version
    bob = stage.centre.signer("bob").public_key.keyid

    def copied(document: dict[str, Any]) -> None:
        [signature] = document["signatures"]
        document["signatures"].append(signature | {"keyid": bob})

    stage.centre.change_json(folder / f"{newest}.targets.json", copied)


def _root(stage: Stage) -> Metadata[Root]:
    """The next root, not signed yet."""
    root = load(stage.metadata("image") / "root.json", Root)
    root.signed.version += 1
    root.signatures.clear()
    return root


def forged_root(stage: Stage, *signers: str) -> None:
    """A root whose approvers are the thief's own keys, signed by them."""
    keys = stage.folder / "thief"
    root = _root(stage)
    thieves = []
    for number in range(3):
        path = keys / f"t{number}.pem"
        if not path.exists():
            generate(keys, path.stem, "thief")
        thieves.append(load_signer(path, "thief"))
        root.signed.add_key(load_public(path.with_suffix(".pub"), f"approver-{number}"), "targets")
        root.signed.add_key(load_public(path.with_suffix(".pub"), f"approver-{number}"), "root")
    for signer in (*thieves, *stage.signers(*signers)):
        root.sign(signer, append=True)
    publish(root, stage.metadata("image"))


def half_forged_root(stage: Stage) -> None:
    forged_root(stage, "alice")


def one_key_two_names(stage: Stage) -> None:
    """A rotation that two approvers signed without looking: the new approvers' key is there under two ids."""
    root = _root(stage)
    keys = stage.folder / "thief"
    if not (keys / "twice.pem").exists():
        generate(keys, "twice", "thief")
    public = load_public(keys / "twice.pub", "mallory")
    twin = SSlibKey("ab" * 32, public.keytype, public.scheme, public.keyval, {"x-pm-stack-smr-name": "trudy"})
    for key in (public, twin):
        root.signed.add_key(key, "targets")
    _sign_root(stage, root, stage.metadata("image"))
    stage.later(lambda: _repair_root(stage, root))


def _sign_root(stage: Stage, root: Metadata[Root], folder: Path) -> None:
    root.signatures.clear()
    for signer in stage.signers(*APPROVERS):
        root.sign(signer, append=True)
    publish(root, folder)


def _repair_root(stage: Stage, bad: Metadata[Root]) -> None:
    """What the centre's people do about it: another rotation, which takes the key out again."""
    folder = stage.centre.metadata("image", "")
    good = load(folder / "root.json", Root)
    publish(bad, folder)
    good.signed.version = bad.signed.version + 1
    _sign_root(stage, good, folder)


def neighbours_director(stage: Stage) -> None:
    """Site B's director repository, served at site A."""
    manifest, model = stage.next_release()
    stage.assign(stage.approve_release(manifest, model), NEIGHBOUR)
    shutil.rmtree(stage.metadata(f"director/{SITE}"))
    shutil.copytree(stage.metadata(f"director/{NEIGHBOUR}"), stage.metadata(f"director/{SITE}"))


def replayed_command(stage: Stage) -> None:
    """What the fleet service said long ago, once more; the director's metadata has gone on."""
    stage.assign_good()
    stage.take_honestly()
    stage.told = (stage.first_rollout, 1)


def standing_still(stage: Stage) -> None:
    """The stream commands a new roll-out, the repository keeps showing the old metadata."""


ATTACKS = [
    Attack("a command replayed", "the fleet stream", "command", replayed_command),
    Attack("frozen: commands come, metadata stays", NETWORK, "command", standing_still),
    Attack("a bit of the model changed", NETWORK, "image hash", tampered),
    Attack("a bit of the manifest changed", NETWORK, "image hash", lambda s: tampered(s, "manifest.json")),
    Attack("model truncated", NETWORK, "image hash", truncated),
    Attack("model longer than signed", NETWORK, "image length", over_long),
    Attack("model without end", NETWORK, "image length", endless),
    Attack("model as a gzip bomb", NETWORK, "image length", inflated),
    Attack("image metadata rolled back", NETWORK, "image rollback", rolled_back),
    Attack(
        "director metadata rolled back",
        NETWORK,
        "director rollback",
        lambda s: rolled_back(s, f"director/{SITE}"),
    ),
    Attack(
        "rolled back, and the client's cache wiped", "the network, the site's cache", "image rollback", wiped
    ),
    Attack("old targets with a new snapshot", NETWORK, "image rollback", mixed),
    Attack("old snapshot with a new timestamp", NETWORK, "image rollback", mixed_snapshots),
    Attack("frozen: shown until it expires", NETWORK, "director expiry", frozen),
    Attack("expired timestamp", ONLINE, "image expiry", expired),
    Attack("expired approvals", "two approvers' old signatures", "image expiry", expired_targets),
    Attack("metadata nested 16,000 deep", NETWORK, "image metadata", nested),
    Attack("metadata without end", NETWORK, "image length", huge_metadata),
    Attack("`signed` twice in one JSON object", NETWORK, "image signatures", evil_twin),
    Attack("1 of 3 approvals", ONE_ONLINE, "image signatures", one_of_three),
    Attack("no approval", "the online and the director key", "image signatures", nobody),
    Attack(
        "signed by keys that are no approvers'",
        "the online and the director key",
        "image signatures",
        strangers,
    ),
    Attack("one approval listed twice", ONE_ONLINE, "image metadata", twice),
    Attack("one approval under two key ids", ONE_ONLINE, "image signatures", another_name),
    Attack("root with the thief's approvers", ONLINE, "image signatures", forged_root),
    Attack("the same, signed by one approver too", ONE_ONLINE, "image signatures", half_forged_root),
    Attack(
        "root that has one key under two names", "two careless approvers", "image root", one_key_two_names
    ),
    Attack(
        "another site's director", "the other site's director key", "director signatures", neighbours_director
    ),
    Attack("connection cut inside the model", NETWORK, AWAY, cut_off),
    Attack("redirect to another host", NETWORK, "image redirect", redirected),
    Attack("repository that drips a byte at a time", NETWORK, AWAY, dripping),
]
