"""An approver signs on a machine of their own, from a folder that may have come from a thief (issue 7)."""

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Delegations, Metadata, Root, TargetFile, Targets

from control_plane.release.approval import add_signature, approve, one_signature
from control_plane.release.ceremony import Appointments, propose_root
from control_plane.release.image import Candidate, ImageRepository
from control_plane.release.metadata_files import expires_in, load, save
from control_plane.release.people import appoint
from control_plane.release.proposal import (
    PROPOSED_BY,
    REVOKED,
    Proposal,
    SignatureFile,
    read_signature,
    write_signature,
)  # fmt: skip
from control_plane.release.review import lines, review
from shared.errors import Rejected, Untrusted
from tests.support.releases import PEOPLE, Centre, make_release, write_release


@pytest.fixture
def centre(tmp_path):
    centre = Centre(tmp_path)
    centre.publish(*make_release(metrics={"rmse_cycles": 12.5, "mae_cycles": 9.0}))
    return centre


@pytest.fixture
def proposal(centre, tmp_path):
    release = write_release(tmp_path / "new", *make_release(version=2, metrics={"rmse_cycles": 11.0}))
    candidate = Candidate(release, {"report.json": b'{"rmse": 11}'}, "models:/coolant_pump/2")
    return centre.image.propose([candidate], centre.signer("dave"), "better on held-out pumps")


@pytest.fixture
def carried(proposal, tmp_path):
    """The same folder on an approver's machine, which has nothing else of the centre's."""
    return shutil.copytree(proposal, tmp_path / "stick" / proposal.name)


def resign(centre, folder, change, by="dave"):
    """The proposer is in league with the centre: change the targets and sign for proposing that."""
    targets = load(folder / "targets.json", Targets)
    change(targets.signed)
    signature = one_signature(targets, centre.signer(by))
    targets.signatures.clear()
    save(targets, folder / "targets.json")
    write_signature(folder, SignatureFile(proposal=folder.name, name=by, targets=signature))


def test_an_approver_signs_offline_and_hands_a_file_back(centre, proposal, carried, tmp_path):
    """Two signatures made on a copy, taken back to the proposal, publish it."""
    for name in ("alice", "bob"):
        found = approve(carried, centre.signer(name), tmp_path / f"{name}.root.json")
        add_signature(proposal, SignatureFile.model_validate_json(found.model_dump_json()))
    assert centre.image.signatures(proposal).signed == ["alice", "bob"]
    centre.image.publish(proposal, centre.signer("online"))
    assert centre.image.releases() == ["coolant_pump/1", "coolant_pump/2"]
    assert centre.image.proposals() == []
    evidence = centre.layout.repository / "evidence/coolant_pump/2/report.json"
    assert evidence.read_bytes() == b'{"rmse": 11}'


def test_an_approver_sees_what_changes_against_what_is_published(centre, carried):
    """Metrics side by side, evidence, registration, who signed, from the folder alone."""
    found = review(Proposal.open(carried))
    assert (found["kind"], found["proposed_by"], found["missing"]) == ("release", "dave", sorted(PEOPLE))
    [release] = found["adds"]
    assert (release["release"], release["against"]) == ("coolant_pump/2", "coolant_pump/1")
    assert release["metrics"] == {"mae_cycles": (None, 9.0), "rmse_cycles": (11.0, 12.5)}
    assert (release["evidence"], release["registered"]) == (["report.json"], "models:/coolant_pump/2")
    text = "\n".join(lines(found))
    assert "better on held-out pumps" in text
    assert "could sign  alice, bob, carol" in text


def test_words_of_a_proposer_cannot_draw_lines_of_their_own(centre, tmp_path):
    """Escape sequences and line breaks in a reason do not change what an approver reads."""
    release = write_release(tmp_path / "other", *make_release(version=9, metrics={"x\x1b[2J": 1.0}))
    proposal = centre.image.propose([release], centre.signer("dave"), "good\n  signed      alice, bob\x1b[1A")
    found = lines(review(Proposal.open(proposal)))
    assert all(line.isprintable() for line in found)
    assert [line for line in found if line.startswith("  signed")] == ["  signed      nobody (2 needed)"]


def add(path):
    return lambda t: t.targets.update({path: TargetFile(1, {"sha256": "0" * 64}, path)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.targets["coolant_pump/1/model.onnx"].hashes.update(sha256="0" * 64), "other bytes"),
        (lambda t: t.targets.pop("coolant_pump/1/model.onnx"), "either add releases or take some away"),
        (lambda t: t.targets.pop("coolant_pump/2/model.onnx"), "coolant_pump/2 is not whole"),
        (add("../../etc/cron.d/x"), "no path of a release"),
        (add("coolant_pump/03/model.onnx"), "no path of a release"),
        (add("coolant_pump/3/model.onnx\n"), "no path of a release"),
        (lambda t: setattr(t, "delegations", Delegations({}, {})), "delegates targets"),
        (lambda t: t.unrecognized_fields.update(x=1), "unknown field 'x'"),
        (lambda t: t.unrecognized_fields.update({REVOKED: {"coolant_pump/1": "x"}}), "list of revoked"),
        (lambda t: t.unrecognized_fields.pop(PROPOSED_BY), "does not say who proposed it"),
        (lambda t: t.unrecognized_fields[PROPOSED_BY].update(name="carol"), "does not know 'carol'"),
        (lambda t: t.unrecognized_fields[PROPOSED_BY].update(keyid="0" * 64), "does not know 'dave'"),
        (lambda t: t.unrecognized_fields.update({REVOKED: 5}), "list of revoked"),
        (lambda t: setattr(t, "version", 4), "is targets version 4; 3 would follow"),
        (lambda t: setattr(t, "expires", datetime.now(UTC) + timedelta(days=4000)), "would expire"),
        (lambda t: setattr(t, "expires", datetime(2020, 1, 1, tzinfo=UTC)), "this machine's clock is wrong"),
        (
            lambda t: t.targets["coolant_pump/2/manifest.json"].unrecognized_fields.update(
                custom={"evidence": {"../../../secret": "0" * 64}}
            ),
            "notes other than",
        ),
    ],
)
def test_a_proposal_that_does_more_than_it_seems_is_not_signed(centre, carried, change, message):
    """Proposer and centre together cannot make an approver sign for anything but whole new releases."""
    resign(centre, carried, change)
    with pytest.raises(Rejected, match=message):
        approve(carried, centre.signer("alice"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda f: (f / "coolant_pump/2/model.onnx").write_bytes(b"x"),
            "not the bytes that the proposal names",
        ),
        (lambda f: (f / "coolant_pump/2/manifest.json").unlink(), "not the bytes that the proposal names"),
        (lambda f: (f / "evidence/coolant_pump/2/report.json").write_text("{}"), "not what was proposed"),
        (lambda f: (f / "signatures/dave.json").unlink(), "dave has not signed for proposing it"),
        (
            lambda f: (f / "signatures/dave.json").rename(f / "signatures/eve.json"),
            "holds the signature of dave",
        ),
        (lambda f: (f / "signatures/dave.json").write_text("{}"), "is no signature file"),
        (lambda f: shutil.rmtree(f / "published"), "holds neither what is published"),
        (lambda f: (f / "targets.json").write_text("[" * 100_000), "cannot be read as TUF metadata"),
        (lambda f: (f / "targets.json").write_text(" " * 2_000_000), "cannot be read|longer"),
        (lambda f: shutil.copy(f / "published/1.root.json", f / "targets.json"), "holds root, not targets"),
    ],
)
def test_a_damaged_proposal_is_not_signed(centre, carried, damage, message):
    damage(carried)
    with pytest.raises(Rejected, match=message):
        approve(carried, centre.signer("alice"))


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("published/targets.json", lambda d: d["signed"].update(x=0.5), "cannot be read as TUF metadata"),
        (
            "root.json",
            lambda d: d["signed"]["roles"]["root"]["keyids"].append("0" * 64),
            "a key that is not there",
        ),
        (
            "root.json",
            lambda d: next(iter(d["signed"]["keys"].values()))["keyval"].update(public="zz"),
            "a key cannot be read",
        ),
    ],
)
def test_what_python_tuf_reads_and_cannot_use_is_not_signed(centre, file, change, message):
    """A number that cannot be signed for, a role with a key that is not there, a key that is none."""
    proposal = propose_root(centre.image, Appointments(), centre.signer("dave"), "a year has gone")
    centre.change_json(proposal / file, change)
    with pytest.raises(Rejected, match=message):
        approve(proposal, centre.signer("alice"))


def test_published_targets_that_nobody_approved_are_seen(centre, carried):
    """A thief hides a release of theirs among what 'is published already'."""
    evil = TargetFile(1, {"sha256": "0" * 64}, "evil/1/model.onnx")
    path = carried / "published" / "targets.json"
    published = load(path, Targets)
    published.signed.targets[evil.path] = evil
    save(published, path)
    resign(centre, carried, lambda t: t.targets.update({evil.path: evil}))
    with pytest.raises(Rejected, match="what it says is published was not approved"):
        approve(carried, centre.signer("alice"))


def test_people_whom_a_thief_invented_do_not_pass_the_approvers_own_root(centre, proposal, tmp_path):
    """A whole forged repository, with alice's public key among its approvers, gets no signature of hers."""
    own = tmp_path / "alice.root.json"
    approve(proposal, centre.signer("alice"), own)
    thief = Centre(tmp_path / "thief")
    forged = Metadata(Root(expires=expires_in(timedelta(days=10))))
    people = {name: thief.public(name) for name in ("bob", "carol")} | {"alice": centre.public("alice")}
    appoint(forged.signed, people, {"dave": thief.public("dave")}, thief.public("online"), 2)
    for name in ("bob", "carol"):
        forged.sign(thief.signer(name), append=True)
    image = ImageRepository(tmp_path / "forged")
    save(forged, tmp_path / "forged/image/metadata/1.root.json")
    save(forged, tmp_path / "forged/image/metadata/root.json")
    targets = Metadata(Targets(expires=expires_in(timedelta(days=10))))
    for name in ("bob", "carol"):
        targets.sign(thief.signer(name), append=True)
    save(targets, tmp_path / "forged/image/metadata/targets.json")
    bait = image.propose([write_release(tmp_path / "bait", *make_release())], thief.signer("dave"))
    with pytest.raises(Rejected, match="do not lead from the root that you signed under"):
        approve(bait, centre.signer("alice"), own)


def test_a_model_that_answers_something_else_here_is_not_signed(centre, carried, tmp_path):
    """The approver's own machine recomputes the golden windows: here they were made up."""
    sound, model = make_release(version=2)
    wrong = sound.golden[0].model_copy(
        update={"outputs": {n: [9.0] * len(v) for n, v in sound.golden[0].outputs.items()}}
    )
    manifest = sound.model_copy(update={"golden": [wrong]})
    write_release(carried / "coolant_pump/2", manifest, model)

    def name_it(targets):
        for name in ("model.onnx", "manifest.json"):
            path = f"coolant_pump/2/{name}"
            targets.targets[path] = TargetFile.from_file(path, str(carried / path))

    resign(centre, carried, name_it)
    with pytest.raises(Untrusted, match="golden window"):
        approve(carried, centre.signer("alice"))
    assert [path.stem for path in (carried / "signatures").iterdir()] == ["dave"]


@pytest.mark.parametrize("approver", ["alice", "bob"])
def test_nobody_approves_what_they_proposed_under_any_name(centre, tmp_path, approver):
    """Not by signing, nor by naming the file after somebody else, nor by claiming that dave proposed it."""
    release = write_release(tmp_path / "new", *make_release(version=2))
    proposal = centre.propose(release, by=approver)
    with pytest.raises(Rejected, match=f"{approver} proposed it"):
        approve(proposal, centre.signer(approver))
    targets = load(proposal / "targets.json", Targets)
    own = one_signature(targets, centre.signer(approver))
    for name in (approver, "carol", "zoe"):
        with pytest.raises(Rejected, match=r"proposed it|does not fit"):
            add_signature(proposal, SignatureFile(proposal=proposal.name, name=name, targets=own))
    write_signature(proposal, SignatureFile(proposal=proposal.name, name="zoe", targets=own))
    centre.approve(proposal, "carol")
    assert centre.image.signatures(proposal).signed == ["carol"]
    claim = {"name": "dave", "keyid": centre.public("dave").keyid}
    resign(centre, proposal, lambda t: t.unrecognized_fields.update({PROPOSED_BY: claim}), by=approver)
    with pytest.raises(Rejected, match="dave has not signed for proposing it"):
        centre.image.publish(proposal, centre.signer("online"))


def test_a_signature_for_another_proposal_is_not_taken(centre, proposal, tmp_path):
    found = approve(proposal, centre.signer("alice"))
    with pytest.raises(Rejected, match="is for targets-9"):
        add_signature(proposal, found.model_copy(update={"proposal": "targets-9"}))
    again = centre.propose(write_release(tmp_path / "other", *make_release(version=7)))
    assert again.name == proposal.name  # proposed in its place
    with pytest.raises(Rejected, match="does not fit; was it changed since"):
        add_signature(again, found)


def test_signing_once_more_keeps_the_others_signatures(centre, proposal):
    """`sign()` without append would drop them."""
    centre.approve(proposal, "alice", "bob", "alice", "carol")
    assert centre.image.signatures(proposal).signed == ["alice", "bob", "carol"]
    assert len(Proposal.open(proposal).signed_targets().signatures) == 4  # and the proposer's


def test_online_keys_publish_only_with_the_online_role(centre, proposal):
    centre.approve(proposal, "alice", "bob")
    with pytest.raises(Rejected, match="not the online role's"):
        centre.image.publish(proposal, centre.signer("director-TX01"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def waiting(tmp_path_factory):
    """A release, a revocation and a change of people, for many examples."""
    folder = tmp_path_factory.mktemp("fuzz")
    centre = Centre(folder)
    centre.publish(*make_release())
    waiting = [
        centre.propose(write_release(folder / "new", *make_release(version=2))),
        propose_root(centre.image, Appointments(), centre.signer("dave"), "a year has gone"),
    ]
    kept = [shutil.copytree(each, folder / f"kept-{n}" / each.name) for n, each in enumerate(waiting)]
    revocation = centre.image.propose_revocation(["coolant_pump/1"], centre.signer("dave"), "drifts")
    return centre, [*kept, revocation]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_change_of_a_proposals_file_gets_a_signature_or_another_error(waiting, data, tmp_path_factory):
    """Any member of any file replaced, or the file by noise: Rejected, or nothing that is signed changed."""
    centre, proposals = waiting
    sound = data.draw(st.sampled_from(proposals))
    folder = shutil.copytree(sound, tmp_path_factory.mktemp("copy") / sound.name)
    names = ["targets.json", "signatures/dave.json", "published/1.root.json", "published/targets.json"]
    names += ["root.json"] * 4 if (folder / "root.json").exists() else []
    path = folder / data.draw(st.sampled_from(names))
    before = _signed(folder)
    if data.draw(st.booleans()):
        path.write_bytes(data.draw(st.binary(max_size=200)))
    else:
        document = json.loads(path.read_text())
        _replace(document, data)
        path.write_text(json.dumps(document))
    try:
        lines(review(Proposal.open(folder)))
        approve(folder, centre.signer("alice"))
    except Rejected:
        return
    assert _signed(folder) == before


def _signed(folder):
    proposal = Proposal.open(folder)
    return proposal.targets.signed_bytes, proposal.proposed_root and proposal.proposed_root.signed_bytes


def _replace(document, data):
    """Put something else at a place that hypothesis chooses."""
    while True:
        keys = sorted(document) if isinstance(document, dict) else list(range(len(document)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if isinstance(document[key], dict | list) and document[key] and data.draw(st.booleans()):
            document = document[key]
            continue
        document[key] = data.draw(JSON)
        return


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_noise_is_no_signature_file(tmp_path_factory, noise):
    path = tmp_path_factory.mktemp("noise") / "x.json"
    path.write_bytes(noise)
    with pytest.raises(Rejected, match="is no signature file"):
        read_signature(path)
