"""The ceremony and an approval as people do them: by the commands, from a registered version (issue 7)."""

import json
import shutil

import pytest
from typer import Exit

from control_plane.audit.centre_log import CentreAct
from control_plane.commands import audit as audit_commands
from control_plane.commands import keys as keys_commands
from control_plane.commands import release as commands
from control_plane.commands.options import PASSPHRASE
from control_plane.layout import Layout
from control_plane.registry.mlflow_client import RunRecord
from control_plane.registry.mlflow_registry import ModelRegistry
from control_plane.release.image import ImageRepository
from control_plane.serving.published import PublishedModels
from shared.errors import ConfigError, Rejected
from tests.support.releases import make_release, write_release

PEOPLE = ("alice", "bob", "carol")


@pytest.fixture(scope="module")
def centre(tmp_path_factory):
    """A centre after its ceremony, with two registered versions of which the second is validated."""
    folder = tmp_path_factory.mktemp("centre")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PASSPHRASE, "six random words would do")
        people = Centre(folder)
        people.hold_ceremony()
        registry = ModelRegistry(people.layout.tracking_uri)
        for bias in (0.0, 1.0):
            manifest, model = make_release(bias=bias, metrics={"rmse_cycles": 10 - bias})
            registry.log_model(model, manifest, RunRecord("train", metrics={"epochs_run": 3}))
        (folder / "report.json").write_text('{"metrics": {"rmse_cycles": 9.5}}')
        registry.runs.log_run(
            RunRecord(
                "validate", {"sha256": manifest.sha256}, artifacts=[folder / "report.json"],
                tags={"kind": "validation"},
            )
        )  # fmt: skip
        yield people


class Centre:
    def __init__(self, folder):
        self.folder, self.keys, self.data = folder, folder / "keys", folder / "data"
        self.layout = Layout(self.data)

    def key(self, name):
        return str(self.keys / f"{name}.pem")

    def hold_ceremony(self):
        keys_commands.generate([*PEOPLE, "dave", "online", "director-TX01"], self.keys)
        named = [f"{name}={self.keys / name}.pub" for name in PEOPLE]
        commands.init(self.data, named, [f"dave={self.keys}/dave.pub"], self.keys / "online.pub")
        self.publish(self.layout.repository / "proposals/root-1")
        commands.director("TX01", self.key("director-TX01"), self.data, self.folder / "trust")

    def publish(self, proposal, *names):
        for name in names or ("alice", "bob"):
            commands.approve(proposal, self.key(name), yes=True)
        commands.publish(proposal, self.key("online"), self.data)

    def release_second(self):
        """Version 2 is published from here on, whichever test comes first."""
        if not ImageRepository(self.layout.repository).releases():
            commands.propose(self.key("dave"), self.data, model_uri=["models:/coolant_pump/2"])
            self.publish(self.layout.repository / "proposals/targets-2")

    def acts(self):
        return [(each.act, each.subject) for each in self.layout.centre_log().entries()]


def said(capsys):
    return capsys.readouterr().out.strip().splitlines()


def test_a_registered_version_is_proposed_approved_offline_and_published(centre, capsys):
    """Metrics, report and registration travel with it; the approver's copy needs nothing of the centre's."""
    commands.propose(centre.key("dave"), centre.data, model_uri=["models:/coolant_pump/2"], reason="better")
    proposal = centre.layout.repository / "proposals/targets-2"
    assert said(capsys)[-1] == str(proposal)
    commands.show(proposal, as_json=True)
    found = json.loads(said(capsys)[-1])
    assert (found["kind"], found["proposed_by"], found["reason"]) == ("release", "dave", "better")
    [adds] = found["adds"]
    assert (adds["release"], adds["registered"]) == ("coolant_pump/2", "models:/coolant_pump/2")
    assert adds["evidence"] == ["metrics.json", "report.json"]
    stick = shutil.copytree(proposal, centre.folder / "stick" / proposal.name)
    for name in ("alice", "carol"):
        commands.approve(stick, centre.key(name), output=centre.folder / f"{name}.json", yes=True)
        commands.add_signature(proposal, centre.folder / f"{name}.json", centre.data)
    assert said(capsys)[-1] == "targets-2: signed by carol; 2 of 2 approvals"
    commands.publish(proposal, centre.key("online"), centre.data)
    assert said(capsys)[-1] == "published: coolant_pump/2"
    assert (centre.keys / "alice.root.json").exists()
    for act in (CentreAct.RELEASE_PROPOSED, CentreAct.RELEASE_APPROVED, CentreAct.RELEASE_PUBLISHED):
        assert act in [done for done, _ in centre.acts()]
    gates = [e for e in centre.layout.centre_log().entries() if e.act is CentreAct.GATE_DECIDED]
    assert [(g.detail["gate"], g.detail["passed"], g.detail["at"]) for g in gates] == [
        ("feature schema", True, "release"), ("model registration", True, "release"),
    ]  # fmt: skip


def test_what_is_not_registered_as_it_is_is_refused_and_on_record(centre, tmp_path):
    """A folder that says it is version 1 but holds other bytes, and a version that nobody registered."""
    other = write_release(tmp_path / "other", *make_release(bias=5.0))
    with pytest.raises(
        Rejected, match="model registration: models:/coolant_pump/1 is registered with sha256"
    ):
        commands.propose(centre.key("dave"), centre.data, [other])
    with pytest.raises(Rejected, match="is not registered"):
        commands.propose(centre.key("dave"), centre.data, model_uri=["models:/coolant_pump/9"])
    with pytest.raises(ConfigError, match="neither a folder nor"):
        commands.propose(centre.key("dave"), centre.data)
    with pytest.raises(Rejected, match="nobody's who may propose"):
        commands.propose(centre.key("online"), centre.data, model_uri=["models:/coolant_pump/1"])
    refused = [each for each in centre.acts() if each[0] is CentreAct.RELEASE_REFUSED]
    assert (CentreAct.RELEASE_REFUSED, "models:/coolant_pump/9") in refused


def test_a_refused_signature_is_on_record(centre, tmp_path):
    """Whoever signs for the wrong thing, or hands in noise, is noted."""
    centre.release_second()
    commands.revoke("coolant_pump/2", "drifts", centre.key("dave"), centre.data)
    [proposal] = ImageRepository(centre.layout.repository).proposals()
    (tmp_path / "noise.json").write_text("{}")
    with pytest.raises(Rejected, match="no signature file"):
        commands.add_signature(proposal, tmp_path / "noise.json", centre.data)
    assert centre.acts()[-1] == (CentreAct.APPROVAL_REFUSED, proposal.name)
    with pytest.raises(Rejected, match="0 of 2 approvals"):
        commands.publish(proposal, centre.key("online"), centre.data)


def test_a_token_without_a_root_of_ones_own_is_asked_for_one(centre):
    with pytest.raises(ConfigError, match="must name a file of yours"):
        commands.trusted_root_of("pkcs11:token=x;id=%02", None)


def test_people_change_by_commands_and_every_key_is_listed(centre, capsys):
    """A renewal of the root for another year, signed by two."""
    keys_commands.rotate(centre.key("dave"), "a year has gone", centre.data)
    proposal = said(capsys)[-1]
    centre.publish(centre.layout.repository / "proposals" / proposal.rpartition("/")[2], "bob", "carol")
    keys_commands.list_keys(centre.data, as_json=True)
    listed = json.loads(said(capsys)[-1])
    assert {each["name"] for each in listed} == {*PEOPLE, "dave", "online", "director-TX01"}
    assert centre.acts()[-1] == (CentreAct.ROOT_PUBLISHED, "root-2")
    with pytest.raises(Exit) as ended:
        audit_commands.verify(centre.data, as_json=True)
    assert ended.value.exit_code == 0
    [verified] = json.loads(said(capsys)[-1])
    assert (verified["site"], verified["verified"], verified["uncovered"]) == ("the centre", True, 0)


def test_serving_judges_each_release_once_and_puts_it_on_record(centre):
    """The soft gates at serving: logged, and served all the same."""
    centre.release_second()
    served = PublishedModels(centre.layout.repository, centre.layout.centre_log())
    before = len(centre.layout.centre_log().entries())
    served.refresh()
    served._seen = None
    served.refresh()
    found = centre.layout.centre_log().entries(before)
    assert [(e.detail["at"], e.detail["gate"], e.detail["passed"]) for e in found] == [
        ("serving", "feature schema", True), ("serving", "model registration", True),
    ]  # fmt: skip
    assert served.get("coolant_pump").manifest.version == 2
