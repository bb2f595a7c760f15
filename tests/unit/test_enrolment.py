"""What enrolment parses, keeps and counts: nothing that is shown to it breaks it, everything is bounded."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from securesystemslib.signer import CryptoSigner

from control_plane.audit.centre_log import CENTRE_LOG, CentreAct, CentreLog
from control_plane.audit.evidence import WITNESS_KEY
from control_plane.audit.inference_log import INFERENCE_LOG
from control_plane.enrolment.authority import Authority, parse_request
from control_plane.enrolment.refusals import PER_HOUR_MAX, SAME_AGAIN_S, Refusals
from control_plane.enrolment.register import Register
from control_plane.layout import Layout
from control_plane.release.director import Director
from control_plane.rpc.enrolment import ADDRESSES_MAX, REFUSED_MAX, REFUSED_PERIOD_S, RefusalLimit
from edge_agent.enrolment import authority_of, signing_request
from edge_agent.identity import SiteIdentity, require_secure
from shared.errors import ConfigError, Rejected
from shared.listen import listener
from shared.log_key import LogKey
from shared.schemas import SignedCheckpoint, utc_now
from shared.schemas.base import require_site_id
from shared.tls import IdentityFiles, fingerprint, new_key, renewal_due, site_name, site_of

KEY = new_key()
REQUEST = signing_request("TX01", KEY)


@pytest.fixture
def register(tmp_path):
    register = Register(tmp_path / "register.db")
    yield register
    register.close()


def certified(authority: Authority, site: str) -> x509.Certificate:
    authority.begin()
    return authority.site_certificate(site, parse_request(REQUEST))


# --- what is parsed -------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(token=st.text(max_size=200), site=st.text(max_size=80))
def test_no_text_passes_for_a_token(tmp_path_factory, token, site):
    """Whatever is shown as one: refused in words, never another error."""
    register = Register(tmp_path_factory.getbasetemp() / "fuzz.db")
    with pytest.raises(Rejected):
        register.check_token(token, site)
    register.close()


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=2000), st.tuples(st.integers(0, len(REQUEST) - 1), st.characters())))
def test_no_text_breaks_the_parsing_of_requests(change):
    """Noise, and a good request with one character changed: a request of the same key, or refused."""
    text = change if isinstance(change, str) else REQUEST[: change[0]] + change[1] + REQUEST[change[0] + 1 :]
    try:
        found = parse_request(text)
    except Rejected:
        return
    assert found.public_key() == KEY.public_key()


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()]
)
def test_only_p256_keys_are_certified(key):
    """One kind of key, which every TLS library here speaks."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "TX01")])
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, digest)
    with pytest.raises(Rejected, match="P-256"):
        parse_request(made.public_bytes(Encoding.PEM).decode())


def test_a_request_cannot_name_whose_certificate_it_becomes(tmp_path):
    """Names and extensions that a request asks for count for nothing."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ID01")])
    asked = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name)
        .add_extension(site_name("ID01"), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(KEY, hashes.SHA256())
    )
    authority = Authority(tmp_path)
    authority.begin()
    made = authority.site_certificate("TX01", parse_request(asked.public_bytes(Encoding.PEM).decode()))
    assert site_of(made) == "TX01"
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@given(st.text(max_size=70))
def test_a_site_id_is_plain_or_refused(text):
    """It becomes a folder and part of a URL: no separator, no dot at its beginning."""
    try:
        site = require_site_id(text)
    except ValueError:
        return
    assert site.isascii()
    assert not set(site) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
    assert site not in (".", "..")


@pytest.mark.parametrize("name", [CENTRE_LOG, INFERENCE_LOG, WITNESS_KEY])
def test_no_site_has_the_name_of_what_is_the_centres_own(tmp_path, name):
    """Its keys, its logs and their folders are told from the sites' by their names: no token, no director, no
    record of a site that is named so."""
    enrolment = Layout(tmp_path).enrolment(Layout(tmp_path).register())
    with pytest.raises(Rejected, match=f"site '{name}' is named as a log or key of the centre's own"):
        enrolment.token(name)
    with pytest.raises(Rejected, match="choose another name"):
        Director(tmp_path, name).begin(CryptoSigner.generate_ed25519())
    with pytest.raises(ValidationError, match="choose another name"):
        SignedCheckpoint(timestamp=utc_now(), site_id=name, size=0, note="")


def test_a_certificate_names_one_site_and_nothing_else(tmp_path):
    """Two names, a host's name or none is no site."""
    authority = Authority(tmp_path)
    files = authority.server_files(["TX01"])
    with pytest.raises(ValueError, match="names no site"):
        site_of(x509.load_pem_x509_certificate(files.chain.read_bytes()))
    with pytest.raises(ValueError, match="no subjectAltName"):
        site_of(authority.begin())


@pytest.mark.parametrize("text", ["", "sha256:", "sha256:" + "g" * 64, "0" * 64, "sha256:" + "0" * 63])
def test_a_malformed_fingerprint_is_named_before_anybody_is_dialled(text):
    """A fingerprint cut short would pin nothing."""
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        authority_of("127.0.0.1:1", text)


# --- what is kept ---------------------------------------------------------------------------------


def test_another_process_sees_a_revocation_at_once(tmp_path, register):
    """The service asks at each call; `control-plane site revoke` is a process of its own."""
    made = certified(Authority(tmp_path / "ca"), "TX01")
    other = Register(tmp_path / "register.db")
    token, _ = other.issue_token("TX01")
    other.enrol(token, "TX01", "key", made)
    assert register.standing(made.serial_number).revoked is None
    version = register.version()
    assert other.revoke("TX01", "stolen") == 1
    assert register.standing(made.serial_number).revoked == "stolen"
    assert register.version() != version
    other.close()


def test_enrolling_again_ends_what_was_before(tmp_path, register):
    """A replaced disk: the certificate on the old one holds no more, nor its audit key."""
    authority = Authority(tmp_path / "ca")
    first, second = certified(authority, "TX01"), certified(authority, "TX01")
    for number, made in enumerate((first, second)):
        register.enrol(register.issue_token("TX01")[0], "TX01", f"key {number}", made)
    assert register.standing(first.serial_number).revoked == "the site was enrolled again"
    assert register.standing(second.serial_number).revoked is None
    assert register.audit_key("TX01") == "key 1"


def test_revoking_withdraws_open_tokens(register):
    """Who is shut out does not come back with a token from yesterday."""
    token, _ = register.issue_token("TX01")
    register.revoke("TX01", "stolen")
    with pytest.raises(Rejected, match="none of this centre's"):
        register.check_token(token, "TX01")


def test_a_certificate_that_was_never_issued_has_no_standing(register):
    """A register that was put back from an older backup lets nobody in that it doesn't know."""
    assert register.standing(12345) is None


def test_the_authority_is_made_once(tmp_path):
    """Another one would shut every site out."""
    first = Authority(tmp_path).fingerprint
    assert Authority(tmp_path).fingerprint == first
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600


def test_renewal_is_due_at_two_thirds_of_the_life(tmp_path):
    """Of 90 days a month is left for a centre that is away."""
    made = certified(Authority(tmp_path, timedelta(days=90)), "TX01")
    now = datetime.now(UTC)
    assert not renewal_due(made, now + timedelta(days=59))
    assert renewal_due(made, now + timedelta(days=61))


def test_a_sites_key_is_kept_when_it_is_enrolled_again(tmp_path):
    """A crash between key and certificate leaves a pair that fits."""
    files = IdentityFiles(tmp_path)
    key = files.load_or_create_key()
    assert files.load_or_create_key().private_numbers() == key.private_numbers()
    assert not files.complete
    assert SiteIdentity.of(tmp_path) is None


# --- what is counted ------------------------------------------------------------------------------


def test_refusals_are_on_the_record_once_an_hour(tmp_path):
    """A site that is shut out dials every half minute."""
    now = [0.0]
    record = CentreLog(tmp_path, LogKey.load_or_create(tmp_path / "key"))
    refusals = Refusals(record, clock=lambda: now[0])
    for at in (0.0, 1.0, SAME_AGAIN_S + 1):
        now[0] = at
        refusals.note(CentreAct.CONNECTION_REFUSED, "TX01", "revoked")
    refusals.note(CentreAct.CONNECTION_REFUSED, "TX01", "expired")
    assert [entry.detail["reason"] for entry in record.entries()] == ["revoked", "revoked", "expired"]


def test_a_flood_of_made_up_refusals_does_not_fill_the_record():
    """So many lines an hour, whatever is made up."""

    class Counting:
        lines = 0

        def note(self, *_act: object, **_detail: object) -> None:
            self.lines += 1

    record = Counting()
    refusals = Refusals(record, clock=lambda: 0.0)
    for number in range(PER_HOUR_MAX + 50):
        refusals.note(CentreAct.ENROLMENT_REFUSED, f"S{number}", "no such token")
    assert record.lines == PER_HOUR_MAX


def test_the_limit_of_refusals_is_by_address_and_passes():
    """Ten a minute; another address is not held up, and the memory is bounded."""
    now = [0.0]
    limit = RefusalLimit(clock=lambda: now[0])
    for _ in range(REFUSED_MAX):
        assert not limit.reached("a")
        limit.count("a")
    assert limit.reached("a")
    assert not limit.reached("b")
    now[0] = REFUSED_PERIOD_S + 1
    assert not limit.reached("a")
    for number in range(2 * ADDRESSES_MAX):
        limit.count(f"address {number}")
    assert len(limit._refused) == ADDRESSES_MAX


# --- in clear on loopback only --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fleet", "repository"),
    [("centre.example:50052", "http://127.0.0.1/r"), ("127.0.0.1:50052", "http://centre.example/r")],
)
def test_a_site_that_is_not_enrolled_dials_nobody_beyond_its_machine(tmp_path, fleet, repository):
    """Models and answers never travel in clear."""
    with pytest.raises(ConfigError, match="edge-agent enroll"):
        require_secure(tmp_path, "TX01", fleet, repository)
    require_secure(tmp_path, "TX01", "127.0.0.1:50052", "http://localhost:8080/repository")


def test_an_enrolled_site_does_not_go_back_to_clear(tmp_path):
    """Nor does it run as another site."""
    authority = Authority(tmp_path / "ca")
    made = certified(authority, "TX01").public_bytes(Encoding.PEM)
    IdentityFiles(tmp_path / "identity").write(made, authority.path.read_bytes())
    with pytest.raises(ConfigError, match="by https"):
        require_secure(tmp_path, "TX01", "127.0.0.1:50052", "http://127.0.0.1:8080/repository")
    with pytest.raises(ConfigError, match="that of TX01"):
        require_secure(tmp_path, "ID01", "127.0.0.1:50052", "https://127.0.0.1:8443/repository")
    require_secure(tmp_path, "TX01", "centre.example:50052", "https://centre.example:8443/repository")


def test_without_tls_only_loopback_listens():
    """Invariant 9, asked before the port is taken."""
    with pytest.raises(ConfigError, match="may listen without TLS"):
        listener("0.0.0.0:0", "--repository-listen")


def test_a_fingerprint_says_which_digest_it_is(tmp_path):
    """So that a longer one can come later."""
    assert fingerprint(Authority(tmp_path).begin()).startswith("sha256:")
