"""Who may publish what (PRD 7.3): people, not the machine."""

import shutil

import onnx
import pytest

from control_plane.release.image import ImageRepository
from control_plane.release.keys import distinct, generate, load_public, load_signer
from control_plane.release.metadata_files import load
from shared.errors import ConfigError, Rejected
from tests.support.releases import PASSPHRASE, PEOPLE, Centre, make_release, write_release


@pytest.fixture
def centre(tmp_path):
    return Centre(tmp_path)


@pytest.fixture
def release(tmp_path):
    return write_release(tmp_path / "out", *make_release())


def test_two_of_three_people_publish(centre, release):
    proposal = centre.propose(release)
    for count, name in enumerate(("carol", "alice"), 1):
        assert centre.image.signatures(proposal).met is (count > 2)
        assert centre.image.approve(proposal, centre.signer(name)) == name
    centre.image.publish(proposal, centre.signer("online"))
    assert centre.image.releases() == ["coolant_pump/1"]
    assert centre.image.release("coolant_pump/1") == make_release_like(release)


def make_release_like(folder):
    from shared.schemas import Manifest

    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    return manifest, (folder / "model.onnx").read_bytes()


def test_the_same_person_twice_is_one_approval(centre, release):
    proposal = centre.propose(release)
    centre.approve(proposal, "alice", "alice")
    with pytest.raises(Rejected, match=r"1 of 2 approvals \(signed: alice; could sign: bob, carol\)"):
        centre.image.publish(proposal, centre.signer("online"))


def test_nobody_approves_their_own_proposal(centre, release):
    proposal = centre.propose(release, by="alice")
    with pytest.raises(Rejected, match="alice proposed it"):
        centre.approve(proposal, "alice")
    centre.approve(proposal, "bob")
    assert centre.image.signatures(proposal).missing == ["carol"]


@pytest.mark.parametrize("name", ["online", "director-TX01"])
def test_an_online_key_is_no_approvers(centre, release, name):
    proposal = centre.propose(release)
    with pytest.raises(Rejected, match="not one of the approvers'"):
        centre.approve(proposal, name)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"version": 9}, "9; 2 would follow"), ({"expires": "2027-01-01T00:00:00Z"}, "dave has not signed")],
)
def test_what_changes_after_it_was_signed_is_not_approved(centre, release, change, message):
    proposal = centre.propose(release)
    centre.approve(proposal, "alice", "bob")
    centre.change_json(proposal / "targets.json", lambda d: d["signed"].update(change))
    with pytest.raises(Rejected, match=message):
        centre.image.publish(proposal, centre.signer("online"))


def test_a_published_release_never_changes(centre, release):
    centre.publish(*make_release())
    with pytest.raises(Rejected, match="never changes"):
        centre.propose(release)


def test_a_proposal_on_an_older_version_must_be_made_again(centre, release, tmp_path):
    early = centre.propose(release)
    centre.approve(early, "alice", "bob")
    kept = shutil.copytree(early, tmp_path / "early")
    centre.publish(*make_release(kind="heat_exchanger"))
    with pytest.raises(Rejected, match="propose it again"):
        centre.image.publish(kept, centre.signer("online"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model.onnx").write_bytes(b"other"), "model.onnx has SHA-256"),
        (lambda f: (f / "manifest.json").unlink(), "manifest.json"),
        (lambda f: (f / "manifest.json").write_text("{}"), "Field required"),
    ],
)
def test_an_unsound_release_is_not_proposed(centre, release, damage, message):
    damage(release)
    with pytest.raises(Rejected, match=message):
        centre.propose(release)


def test_weights_outside_the_model_are_not_proposed(centre, tmp_path):
    """A signature over model.onnx alone would not cover them."""
    import hashlib

    manifest, model = make_release()
    graph = onnx.load_model_from_string(model)
    tensor = next(t for t in graph.graph.initializer if t.name == "milli")
    tensor.raw_data = b"\0\0\0\0"
    onnx.external_data_helper.set_external_data(tensor, location="weights.bin")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    changed = graph.SerializeToString()
    manifest = manifest.model_copy(update={"sha256": hashlib.sha256(changed).hexdigest()})
    with pytest.raises(Rejected, match=r"weights \['milli'\] lie outside"):
        centre.propose(write_release(tmp_path / "out", manifest, changed))


def test_what_lies_in_the_repository_is_checked_before_it_is_served(centre):
    centre.publish(*make_release())
    path = centre.layout.repository / "image/targets/coolant_pump/1/model.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(Rejected, match="not the bytes that were approved"):
        centre.image.release("coolant_pump/1")


def test_a_root_is_made_once(centre):
    with pytest.raises(ConfigError, match="has a root already"):
        centre.image.begin({}, load_public(centre.keys / "online.pub", "online"), 2)


@pytest.mark.parametrize("threshold", [0, 1, 4])
def test_a_threshold_of_one_or_of_more_than_there_are_is_refused(tmp_path, threshold):
    for name in (*PEOPLE, "online"):
        generate(tmp_path, name, PASSPHRASE)
    people = {name: load_public(tmp_path / f"{name}.pub", name) for name in PEOPLE}
    with pytest.raises(ConfigError, match="between 2 and the 3 approvers"):
        ImageRepository(tmp_path).begin(people, load_public(tmp_path / "online.pub", "online"), threshold)


def test_one_key_under_two_names_is_refused(tmp_path):
    generate(tmp_path, "alice", PASSPHRASE)
    key = tmp_path / "alice.pub"
    with pytest.raises(ConfigError, match="bob and alice have the same key"):
        distinct({"alice": load_public(key, "alice"), "bob": load_public(key, "bob")})


def test_a_private_key_is_closed_encrypted_and_never_overwritten(tmp_path):
    path = generate(tmp_path, "alice", PASSPHRASE)
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in path.read_bytes()
    with pytest.raises(ConfigError, match="never overwritten"):
        generate(tmp_path, "alice", PASSPHRASE)
    with pytest.raises(ConfigError, match="is the passphrase right"):
        load_signer(path, "wrong")
    with pytest.raises(ConfigError, match="never stored in the clear"):
        generate(tmp_path, "bob", "")


def test_every_metadata_version_stays_for_clients_that_fetch_meanwhile(centre):
    """TUF's consistent snapshots: a publication in the middle of a fetch is no 'rollback'."""
    from tuf.api.metadata import Root

    centre.publish(*make_release())
    folder = centre.metadata("image", "")
    assert load(folder / "root.json", Root).signed.consistent_snapshot
    assert {p.name for p in folder.glob("*.targets.json")} == {"1.targets.json", "2.targets.json"}
    assert {p.name for p in folder.glob("*.snapshot.json")} == {"1.snapshot.json", "2.snapshot.json"}
