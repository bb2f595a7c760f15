"""An approver's key that never leaves its token (PKCS#11), behind the same way of naming a key."""

import os
import subprocess
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Targets

from control_plane.release.approval import one_signature
from control_plane.release.ceremony import Appointments, propose_root
from control_plane.release.keys import distinct, load_public, open_signer, public_pem
from edge_agent.update import ReleaseClient
from shared.errors import ConfigError
from tests.support.releases import Centre, make_release, write_release
from tests.support.web import served

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "1234"

pkcs11 = pytest.importorskip("pkcs11", reason="python-pkcs11 is missing: install the `pkcs11` extra")
if not MODULE.exists():
    pytest.skip("SoftHSM2 is missing: apt-get install softhsm2", allow_module_level=True)


@pytest.fixture(scope="module")
def token(tmp_path_factory):
    """A token with an ECDSA P-256 key of id 2, as a YubiKey has it; its URI."""
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}\nobjectstore.backend = file\n")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    make = [
        "softhsm2-util",
        "--init-token",
        "--free",
        "--label",
        "erins token",
        "--pin",
        PIN,
        "--so-pin",
        PIN,
    ]
    subprocess.run(make, check=True, capture_output=True)
    from pkcs11.util.ec import encode_named_curve_parameters

    own = pkcs11.lib(str(MODULE)).get_token(token_label="erins token")  # noqa: S106 - the name of a token
    with own.open(rw=True, user_pin=PIN) as session:
        curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True).generate_keypair(
            store=True, id=b"\x02", label="approver"
        )
    return f"pkcs11:token=erins%20token;id=%02?module-path={MODULE}"


def test_a_key_on_a_token_approves_and_a_site_takes_the_release(token, tmp_path):
    """Erin replaces carol with a key on a token; alice's file and erin's token publish; the site verifies."""
    centre = Centre(tmp_path)
    signer = open_signer(token, lambda of: PIN)
    (centre.keys / "erin.pub").write_bytes(public_pem(signer.public_key))
    erin = load_public(centre.keys / "erin.pub", "erin")
    assert erin.keyid == signer.public_key.keyid
    changes = Appointments(remove_approvers=("carol",), add_approvers={"erin": erin})
    root = propose_root(centre.image, changes, centre.signer("dave"), "carol has left")
    centre.approve(root, "alice", "bob")
    centre.image.approve(root, signer)
    centre.image.publish(root, centre.signer("online"))
    proposal = centre.propose(write_release(tmp_path / "new", *make_release()))
    centre.approve(proposal, "alice")
    assert centre.image.approve(proposal, signer) == "erin"
    centre.image.publish(proposal, centre.signer("online"))
    centre.roll_out("coolant_pump/1")
    with served(centre.layout.repository) as url:
        found = ReleaseClient(tmp_path / "site", centre.trust["TX01"], url, "TX01").fetch()
    assert [release.manifest.folder for release in found] == ["coolant_pump/1"]


def test_one_key_under_two_schemes_is_one_key(token):
    """The same P-256 pair has another key id for each scheme's name; TUF alone would count it twice."""
    signer = open_signer(token, lambda of: PIN)
    fields = signer.public_key.to_dict()
    twin = type(signer.public_key).from_dict("0" * 64, fields | {"scheme": "ecdsa-sha2-nistp384"})
    with pytest.raises(ConfigError, match="erin2 and erin have the same key"):
        distinct({"erin": signer.public_key, "erin2": twin})


def test_a_wrong_pin_signs_nothing(token):
    with pytest.raises(ConfigError, match="could not sign: PinIncorrect"):
        one_signature(Metadata(Targets()), open_signer(token, lambda of: "9999"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda uri: uri.replace("id=%02", "id=%07"), "cannot be opened"),
        (lambda uri: uri.replace("erins", "zoes"), "No PKCS#11 token found"),
        (lambda uri: uri.replace(";id=%02", ""), "names no key"),
        (lambda uri: uri.replace(";id=", ";object=x;id="), "'object' is not understood"),
        (lambda uri: uri.replace(str(MODULE), "/nowhere.so"), "cannot be opened"),
    ],
)
def test_a_token_that_is_not_there_is_named(token, change, message):
    with pytest.raises(ConfigError, match=message):
        open_signer(change(token), lambda of: PIN)
