"""People and keys come and go, and every site follows by the root chain alone (issue 7)."""

import shutil
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Targets
from tuf.ngclient import Updater as TufUpdater
from tuf.ngclient.config import UpdaterConfig

from control_plane.release import metadata_files
from control_plane.release.ceremony import (
    Appointments,
    directors_naming,
    holders,
    propose_root,
    rotate_director,
)
from control_plane.release.director import Director
from control_plane.release.keys import generate, load_public, load_signer
from control_plane.release.metadata_files import OFFLINE_EXPIRY, load, next_version, publish, renew
from control_plane.release.people import approvers
from control_plane.release.renewal import renew_due
from edge_agent.update import ReleaseClient
from shared.errors import ConfigError, Rejected, Untrusted
from tests.support.releases import PASSPHRASE, Centre, make_release, write_release
from tests.support.web import served

SITE = "TX01"


class Follower:
    """A site from the beginning: the agent's client beside a bare python-tuf one."""

    def __init__(self, centre, url, folder):
        self.centre, self.url, self.folder = centre, url, folder
        self.client = ReleaseClient(folder / "agent", centre.trust[SITE], url, SITE)

    def sees(self):
        """Releases that the agent takes; python-tuf's own client agrees with the metadata."""
        for name in ("image", f"director/{SITE}"):
            cache = self.folder / "tuf" / name
            cache.mkdir(parents=True, exist_ok=True)
            root = self.centre.trust[SITE] / ("image_root.json" if name == "image" else "director_root.json")
            updater = TufUpdater(
                str(cache), f"{self.url}/{name}/metadata/", str(cache), f"{self.url}/{name}/targets/",
                config=UpdaterConfig(prefix_targets_with_hash=False), bootstrap=root.read_bytes(),
            )  # fmt: skip
            updater.refresh()
        return [release.manifest.folder for release in self.client.fetch()]


@pytest.fixture
def centre(tmp_path):
    centre = Centre(tmp_path)
    centre.roll_out(centre.publish(*make_release()))
    for name in ("erin", "frank", "online2", "director-new"):
        generate(centre.keys, name, PASSPHRASE)
    return centre


@pytest.fixture
def site(centre, tmp_path):
    with served(centre.layout.repository) as url:
        site = Follower(centre, url, tmp_path / "site")
        assert site.sees() == ["coolant_pump/1"]
        yield site


def change(centre, *signers, by="dave", online="online", **changes):
    """Propose a root, sign it, publish it."""
    proposal = propose_root(centre.image, Appointments(**changes), centre.signer(by), "because")
    centre.approve(proposal, *signers)
    centre.image.publish(proposal, centre.signer(online))
    return proposal


def works(centre, site, version, *signers):
    """A release approved by `signers` reaches the site."""
    proposal = centre.propose(write_release(centre.folder / "new", *make_release(version=version)))
    centre.approve(proposal, *signers)
    centre.image.publish(proposal, centre.signer("online"))
    centre.roll_out(f"coolant_pump/{version}")
    return f"coolant_pump/{version}" in site.sees()


def test_two_who_are_left_replace_an_approver_who_is_lost(centre, site):
    """2 of 3 left sign a new root with a replacement; the site follows; the lost key counts for nothing."""
    change(centre, "alice", "bob", remove_approvers=("carol",), add_approvers={"erin": centre.public("erin")})
    assert site.sees() == ["coolant_pump/1"]
    assert sorted(approvers(centre.image.published_root())) == ["alice", "bob", "erin"]
    proposal = centre.propose(write_release(centre.folder / "new", *make_release(version=2)))
    with pytest.raises(Rejected, match="not one of the approvers'"):
        centre.approve(proposal, "carol")
    assert works(centre, site, 2, "alice", "erin")


def test_two_of_three_approvers_may_change_at_once(centre, site):
    """Enough of the old people and enough of the new must sign: here alice and bob, alice and erin."""
    proposal = propose_root(
        centre.image,
        Appointments(
            remove_approvers=("bob", "carol"),
            add_approvers={"erin": centre.public("erin"), "frank": centre.public("frank")},
        ),
        centre.signer("dave"),
        "they left",
    )
    for signed in ("alice", "bob"):
        centre.approve(proposal, signed)
        with pytest.raises(Rejected, match="approvals"):
            centre.image.publish(proposal, centre.signer("online"))
    centre.approve(proposal, "erin")
    centre.image.publish(proposal, centre.signer("online"))
    assert site.sees() == ["coolant_pump/1"]
    assert works(centre, site, 2, "erin", "frank")


def test_an_approvers_key_is_replaced_under_the_same_name(centre, site):
    (centre.keys / "alice.pem").rename(centre.keys / "alice-old.pem")
    (centre.keys / "alice.pub").rename(centre.keys / "alice-old.pub")
    generate(centre.keys, "alice", PASSPHRASE)
    change(
        centre, "bob", "carol", remove_approvers=("alice",), add_approvers={"alice": centre.public("alice")}
    )
    assert site.sees() == ["coolant_pump/1"]
    assert works(centre, site, 2, "alice", "bob")
    proposal = centre.propose(write_release(centre.folder / "3", *make_release(version=3)))
    with pytest.raises(Rejected, match="not one of the approvers'"):
        centre.approve(proposal, "alice-old")


def test_signatures_of_a_revoked_approver_do_not_count_at_a_site(centre, site):
    """Revoked and current key together do not reach a threshold of 2 (what python-tuf's client says)."""
    change(centre, "alice", "bob", remove_approvers=("carol",), add_approvers={"erin": centre.public("erin")})
    assert site.sees()
    folder = centre.metadata("image", "")
    targets = load(folder / "targets.json", Targets)
    next_version(targets, OFFLINE_EXPIRY)
    for name in ("alice", "carol"):
        targets.sign(centre.signer(name), append=True)
    publish(targets, folder)
    renew(folder, centre.signer("online"))
    with pytest.raises(UnsignedMetadataError):
        site.sees()
    with pytest.raises(Untrusted, match="too few valid approvals"):
        site.client.fetch()


def test_the_online_key_is_replaced_and_the_old_one_publishes_nothing(centre, site):
    """A stolen snapshot and timestamp key is worth nothing once a new root is out."""
    old = centre.signer("online")
    proposal = propose_root(
        centre.image, Appointments(online=centre.public("online2")), centre.signer("dave"), "stolen"
    )
    centre.approve(proposal, "alice", "carol")
    with pytest.raises(Rejected, match="this key is not the online role's"):
        centre.image.publish(proposal, old)
    centre.image.publish(proposal, centre.signer("online2"))
    assert site.sees() == ["coolant_pump/1"]
    renew(centre.metadata("image", ""), old)
    with pytest.raises(UnsignedMetadataError):
        site.sees()


def test_a_sites_director_key_is_replaced_and_the_old_one_commands_nothing(centre, site):
    """The site follows the director's root chain; what the old key signs after that is refused."""
    repository = centre.layout.repository
    old, new = centre.signer(f"director-{SITE}"), centre.signer("director-new")
    assert rotate_director(repository, SITE, old, new) == 2
    assert site.sees() == ["coolant_pump/1"]
    renew(repository / "director" / SITE / "metadata", old)
    with pytest.raises(UnsignedMetadataError):
        site.sees()
    renew(repository / "director" / SITE / "metadata", new)
    assert site.sees() == ["coolant_pump/1"]
    with pytest.raises(Rejected, match="the old key is not its director's"):
        rotate_director(repository, SITE, old, new)
    with pytest.raises(Rejected, match="was its director's already"):
        rotate_director(repository, SITE, new, old)


def test_a_forged_root_is_not_followed(centre, site):
    """Two stolen keys that are no approvers' sign a root of their own: the site stays with the one it has."""
    folder = centre.metadata("image", "")
    root = load(folder / "root.json", Root)
    next_version(root, OFFLINE_EXPIRY)
    for name in ("erin", "frank"):
        for role in ("root", "targets"):
            root.signed.add_key(centre.public(name), role)
    for name in ("alice", "erin", "frank"):
        root.sign(centre.signer(name), append=True)
    publish(root, folder)
    with pytest.raises(Untrusted, match="image signatures"):
        site.client.fetch()


def test_a_site_that_was_away_follows_many_roots_at_once(centre, tmp_path):
    """A site that trusts the first root alone reaches the fourth, step by step."""
    change(centre, "alice", "bob")
    change(centre, "alice", "bob", remove_approvers=("carol",), add_approvers={"erin": centre.public("erin")})
    change(
        centre, "erin", "bob", remove_approvers=("alice",), add_approvers={"frank": centre.public("frank")}
    )
    with served(centre.layout.repository) as url:
        assert Follower(centre, url, tmp_path / "late").sees() == ["coolant_pump/1"]
    history = tmp_path / "late/agent/tuf/image/root_history"
    assert [Metadata.from_file(str(history / f"{n}.root.json")).signed.version for n in (1, 2, 3, 4)] == [
        1,
        2,
        3,
        4,
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"remove_approvers": ("zoe",)}, "zoe is no approver"),
        ({"remove_approvers": ("alice", "bob")}, "between 2 and the 1 approvers"),
        ({"add_approvers": {"alice": "erin"}}, "alice is approver already"),
        ({"add_approvers": {"erin": "alice"}}, "erin and alice have the same key"),
        ({"add_approvers": {"Alice": "erin"}}, "read as one person"),
        ({"add_approvers": {"erin": "online"}}, "have the same key"),
        ({"add_approvers": {"erin": "dave"}}, "have the same key"),
        ({"add_proposers": {"alice": "erin"}}, "an approver already"),
        ({"online": "bob"}, "have the same key"),
    ],
)
def test_people_who_would_count_twice_or_too_few_are_refused(centre, changes, message):
    """Distinct key material and distinct persons in every role, whatever the names."""
    found = dict(changes)
    for what, value in changes.items():
        if isinstance(value, dict):
            found[what] = {name: load_public(centre.keys / f"{key}.pub", name) for name, key in value.items()}
        elif what == "online":
            found[what] = centre.public(value)
    with pytest.raises(ConfigError, match=message):
        propose_root(centre.image, Appointments(**found), centre.signer("dave"), "why")


def test_a_key_that_was_taken_away_does_not_come_back(centre):
    """It may have been stolen: its owner makes a new one."""
    change(centre, "alice", "bob", remove_approvers=("carol",), add_approvers={"erin": centre.public("erin")})
    with pytest.raises(Rejected, match="the key of carol was taken away before"):
        change(centre, "alice", "bob", add_approvers={"carol": centre.public("carol")})


def test_a_proposal_under_an_older_root_is_made_again(centre):
    """Nobody waits for a new root under which other people count."""
    early = centre.propose(write_release(centre.folder / "new", *make_release(version=2)))
    centre.approve(early, "alice", "bob")
    change(centre, "alice", "bob")
    with pytest.raises(Rejected, match="under another root; propose it again"):
        centre.image.publish(early, centre.signer("online"))


def test_a_director_has_a_key_of_its_own(centre):
    """Director = approver, or one key for two sites, would give a thief of one the other."""
    repository = centre.layout.repository
    with pytest.raises(Rejected, match="this one is alice's"):
        Director(repository, "ID01").begin(centre.signer("alice"))
    with pytest.raises(Rejected, match="this one is the online role's"):
        rotate_director(repository, SITE, centre.signer(f"director-{SITE}"), centre.signer("online"))
    Director(repository, "ID01").begin(centre.signer("director-new"))
    with pytest.raises(Rejected, match="this one is ID01's"):
        rotate_director(repository, SITE, centre.signer(f"director-{SITE}"), centre.signer("director-new"))


@pytest.mark.parametrize("kind", ["release", "root"])
def test_a_publication_that_is_cut_off_is_completed_by_publishing_again(centre, tmp_path, monkeypatch, kind):
    """Killed before any of its writes: the same command again leaves a repository that holds together."""
    if kind == "release":
        proposal = centre.propose(write_release(centre.folder / "new", *make_release(version=2)))
    else:
        erin = {"erin": centre.public("erin"), "frank": centre.public("frank")}
        changes = Appointments(remove_approvers=("bob", "carol"), add_approvers=erin)
        proposal = propose_root(centre.image, changes, centre.signer("dave"), "they left")
        centre.approve(proposal, "erin")
    centre.approve(proposal, "alice", "bob")
    whole, kept = centre.layout.repository, tmp_path / "kept"
    shutil.copytree(whole, kept)
    write, left = metadata_files.write, []

    def dies(path, data):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        write(path, data)

    for survives in range(7):  # of root with targets, or two files with targets; then snapshot and timestamp
        shutil.rmtree(whole)
        shutil.copytree(kept, whole)
        left[:] = range(survives)
        with monkeypatch.context() as patch:
            for module in ("metadata_files", "image"):
                patch.setattr(f"control_plane.release.{module}.write", dies)
            with pytest.raises(KeyboardInterrupt):
                centre.image.publish(proposal, centre.signer("online"))
        centre.image.publish(proposal, centre.signer("online"))
        root = load(centre.metadata("image", "root.json"), Root)
        root.verify_delegate("targets", load(centre.metadata("image", "targets.json"), Targets))
        assert metadata_files.names_newest(centre.metadata("image", ""))
    with pytest.raises(Rejected, match="propose it again"):
        centre.image.publish(proposal, centre.signer("online"))


def test_every_key_in_use_is_listed(centre):
    found = {(each.role, each.name) for each in holders(centre.layout.repository)}
    assert found == {
        ("approver", "alice"), ("approver", "bob"), ("approver", "carol"), ("proposer", "dave"),
        ("snapshot, timestamp", "online"), ("all", f"director-{SITE}"),
    }  # fmt: skip


def test_a_revoked_release_is_gone_for_ever_and_its_directors_are_found(centre, site):
    """2 of 3 take it away; a director alone cannot bring it back, nor can anybody under the same name."""
    proposal = centre.image.propose_revocation(["coolant_pump/1"], centre.signer("dave"), "drifts")
    with pytest.raises(Rejected, match="0 of 2 approvals"):
        centre.image.publish(proposal, centre.signer("online"))
    centre.approve(proposal, "alice", "carol")
    centre.image.publish(proposal, centre.signer("online"))
    assert centre.image.releases() == []
    assert directors_naming(centre.layout.repository, "coolant_pump/1") == [SITE]
    with pytest.raises(Untrusted, match="was never approved"):
        site.client.fetch()
    with pytest.raises(Rejected, match="coolant_pump/1 was revoked and cannot come back"):
        centre.propose(write_release(centre.folder / "back", *make_release(bias=1.0)))
    found = renew_due(centre.layout.repository, {f"director-{SITE}": centre.signer(f"director-{SITE}")})
    assert found.renewed == [f"director/{SITE}"]
    assert site.sees() == []
    assert works(centre, site, 2, "alice", "bob")


def test_a_roll_out_after_a_revocation_does_not_go_back_to_it(centre, site):
    """The revoked release is named by nobody any more, not even as what to go back to."""
    proposal = centre.image.propose_revocation(["coolant_pump/1"], centre.signer("dave"), "drifts")
    centre.approve(proposal, "alice", "carol")
    centre.image.publish(proposal, centre.signer("online"))
    assert works(centre, site, 2, "alice", "bob")
    assert site.sees() == ["coolant_pump/2"]


def test_a_wrong_clock_blocks_the_update_and_says_so(site, monkeypatch):
    """A machine whose clock runs 60 days ahead cannot tell fresh metadata from a replay: it takes nothing."""
    ahead = SimpleNamespace(datetime=_Ahead, timezone=timezone)
    monkeypatch.setattr("tuf.ngclient._internal.trusted_metadata_set.datetime", ahead)
    with pytest.raises(Untrusted, match="image expiry: expired; this machine's clock says"):
        site.client.fetch()


class _Ahead(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(days=60)


def test_a_lost_passphrase_or_a_key_of_another_kind_opens_nothing(tmp_path):
    (tmp_path / "rsa.pem").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(ConfigError, match="cannot be opened"):
        load_signer(tmp_path / "rsa.pem", PASSPHRASE)
