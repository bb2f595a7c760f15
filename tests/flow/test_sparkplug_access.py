"""TLS and logins of an MQTT broker, by a real one: what is right connects, what is wrong names its remedy."""

import asyncio
import gc
import ipaddress
import shutil
import subprocess
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from edge_agent.commands.check import check
from edge_agent.simulation.sparkplug_plant import SparkplugPlant
from edge_agent.sources.sparkplug import SparkplugSource
from shared.errors import ConfigError, Retryable
from shared.listen import free_port
from shared.plant_config import Plant
from shared.reactor_config import parse_fleet
from shared.schemas import ComponentId, Quality
from tests.support.mosquitto import mosquitto

PUMP = ComponentId("TX01", "R1", "coolant_pump")
COMPONENTS = parse_fleet({"TX01": {"R1": {"coolant_pump": {}}}}, "test").components()
PASSWORD, WRONG_PASSWORD = "spring-water-71", "autumn-leaves-13"
SAID_WITHIN_S = 60.0
pytestmark = [  # paho leaves a socket whose handshake failed to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def no_socket_is_left_to_the_next_test():
    """paho leaves the socket of a failed TLS handshake to the garbage collector; it is found here, and not
    in the midst of another test."""
    yield
    gc.collect()


class Authority:
    """A CA that signs certificates into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key, self.file = ec.generate_private_key(ec.SECP256R1()), folder / f"{name}.pem"
        found = self._signed(self.name, self.key, x509.BasicConstraints(ca=True, path_length=0), days=1)
        self.file.write_bytes(found.public_bytes(serialization.Encoding.PEM))

    def _signed(self, name, key, basic, days, host="127.0.0.1"):
        now = datetime.now(UTC)
        start = now - timedelta(days=2)
        builder = x509.CertificateBuilder(self.name, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(start).not_valid_after(now + timedelta(days=days))
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        builder = builder.add_extension(basic, critical=True).add_extension(address, critical=False)
        key_id = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(own, critical=False).add_extension(by, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, name: str, days: float = 1, host: str = "127.0.0.1") -> tuple[Path, Path]:
        """A certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        found = self._signed(subject, key, x509.BasicConstraints(ca=False, path_length=None), days, host)
        files = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        files[0].write_bytes(found.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8
        files[1].write_bytes(
            key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        )
        return files


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> dict[str, Path]:
    """Every file that a case below may name."""
    folder = tmp_path_factory.mktemp("pki")
    site, other = Authority(folder, "site-ca"), Authority(folder, "other-ca")
    site.issue("broker"), site.issue("expired", days=-1), site.issue("elsewhere", host="192.0.2.1")
    site.issue("agent"), site.issue("agent-expired", days=-1), other.issue("stranger")
    for name, said in {
        "password": f"{PASSWORD}\n",
        "wrong": WRONG_PASSWORD,
        "empty": "",
        "open": "x",
    }.items():
        (folder / name).write_text(said)
        (folder / name).chmod(0o644 if name == "open" else 0o600)
    if shutil.which("mosquitto_passwd") is not None:
        command = ["mosquitto_passwd", "-b", "-c", str(folder / "users"), "reader", PASSWORD]
        subprocess.run(command, check=True, capture_output=True)
    return {found.name: found for found in folder.iterdir()}


def listens(pki, certificate: str = "broker", *, client_certificates: bool = False) -> str:
    lines = [f"certfile {pki[certificate + '.crt']}", f"keyfile {pki[certificate + '.key']}"]
    if client_certificates:
        lines += [f"cafile {pki['site-ca.pem']}", "require_certificate true"]
    return "\n".join([*lines, "allow_anonymous true"])


def logins(pki) -> str:
    return f"allow_anonymous false\npassword_file {pki['users']}"


def tls(pki, ca: str = "site-ca", own: str = "") -> dict:
    files = {"certificate_file": pki[f"{own}.crt"], "key_file": pki[f"{own}.key"]} if own else {}
    return {"tls": {"ca_file": pki[f"{ca}.pem"], **files}}


def login(pki, file: str = "password") -> dict:
    return {"login": {"user": "reader", "password_file": pki[file]}}


RIGHT = {
    "tls": lambda pki: (listens(pki), tls(pki)),
    "client certificate": lambda pki: (listens(pki, client_certificates=True), tls(pki, own="agent")),
    "login": lambda pki: (logins(pki), login(pki)),
    "tls and login": lambda pki: (
        listens(pki).replace("allow_anonymous true", logins(pki)),
        tls(pki) | login(pki),
    ),
}
WRONG = {
    r"not signed by plant\.tls\.ca_file .*other-ca\.pem; give the CA that signed it": lambda pki: (
        listens(pki),
        tls(pki, ca="other-ca"),
    ),
    r"has expired; renew it on the broker": lambda pki: (listens(pki, "expired"), tls(pki)),
    r"is not for '127\.0\.0\.1'; give plant\.host a name": lambda pki: (listens(pki, "elsewhere"), tls(pki)),
    r"does not speak TLS as this side does; give plant\.port": lambda pki: (
        "allow_anonymous true",
        tls(pki),
    ),
    r"hangs up without an answer; if its listener speaks TLS, give plant\.tls\.ca_file": lambda pki: (
        listens(pki),
        {},
    ),
    r"if it asks for a client certificate, give plant\.tls\.certificate_file": lambda pki: (
        listens(pki, client_certificates=True),
        tls(pki),
    ),
    r"certificate_file may have expired, or be of a CA that the broker does not know": lambda pki: (
        listens(pki, client_certificates=True),
        tls(pki, own="stranger"),
    ),
    r"refuses user 'reader': .*; check the password": lambda pki: (logins(pki), login(pki, "wrong")),
    r"refuses a client without a login: .*; give plant\.login": lambda pki: (logins(pki), {}),
}


@pytest.fixture
def served(pki, tmp_path, request):
    """The plant's section of a case, and its broker running."""
    if "users" not in pki:
        pytest.skip("mosquitto_passwd is not installed: apt-get install mosquitto")
    access, section = request.param(pki)
    port = free_port()
    with ExitStack() as stack:
        stack.enter_context(mosquitto(tmp_path, port, access))
        yield Plant(protocol="sparkplug_b", port=port, **section)


@pytest.mark.parametrize("served", RIGHT.values(), ids=RIGHT, indirect=True)
async def test_what_is_right_connects_both_sides(served):
    """The plant publishes, the agent reads."""
    async with (
        SparkplugSource("TX01", served, COMPONENTS) as source,
        SparkplugPlant("TX01", served, COMPONENTS) as plant,
        asyncio.timeout(SAID_WITHIN_S),
    ):
        while not (await source.read())[0].metrics:
            plant.show(PUMP, 1, {"flow_rate": 370.0})
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(("served", "message"), [(c, m) for m, c in WRONG.items()], indirect=["served"])
async def test_what_is_wrong_is_said_with_its_remedy_by_both_sides(served, message):
    """The agent has no number, says why once, and goes on; the plant does not start. No secret is said."""
    with capture_logs() as said:
        async with (
            SparkplugSource("TX01", served, COMPONENTS) as source,
            asyncio.timeout(SAID_WITHIN_S),
        ):
            while not said:
                await asyncio.sleep(0.02)
            (reading,) = await source.read()
            assert set(reading.quality.values()) == {Quality.DISCONNECTED}
    with pytest.raises(Retryable, match=message) as refused:
        async with SparkplugPlant("TX01", served, COMPONENTS):
            pass
    gc.collect()
    assert [entry["reason"] for entry in said] == [str(refused.value)]
    assert WRONG_PASSWORD not in repr((said, served, refused.value))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (lambda pki: {"tls": {"ca_file": "no/ca.pem"}}, r"plant\.tls\.ca_file.*\n.*no/ca\.pem: No such file"),
        (
            lambda pki: {"tls": {"ca_file": pki["password"]}},
            r"plant\.tls\.ca_file.*\n.*expected certificates in PEM form",
        ),
        (
            lambda pki: {
                "tls": {
                    "ca_file": pki["site-ca.pem"],
                    "certificate_file": pki["agent.crt"],
                    "key_file": pki["stranger.key"],
                }
            },
            r"plant\.tls\.certificate_file.*\n.*its own key",
        ),
        (lambda pki: login(pki, "empty"), r"plant\.login.*\n.*empty holds no password for user 'reader'"),
        (lambda pki: login(pki, "open"), r"password_file.*\n.*may be read by everyone; run: chmod 600"),
        (
            lambda pki: {"login": {"user": "reader", "password_file": "no/password"}},
            r"password_file.*\n.*no/password: No such file",
        ),
        (
            lambda pki: {"login": {"user": "reader", "password_variable": "NOT_SET_ANYWHERE"}},
            r"environment variable NOT_SET_ANYWHERE holds no password",
        ),
    ],
)
async def test_file_that_is_not_usable_stops_the_agent_at_its_start(pki, section, message):
    """A mistake on this machine is no plant that is away."""
    plant = Plant(protocol="sparkplug_b", port=1, **section(pki))
    with pytest.raises(ConfigError, match=message):
        async with SparkplugSource("TX01", plant, COMPONENTS):
            pass


def checked(config: Path, *options: str) -> Result:
    """`edge-agent check` in this process."""
    app = typer.Typer()
    app.command()(check)
    return CliRunner().invoke(app, ["--config", str(config), "--site", "TX01", *options])


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        ("host: 10.0.0.7, login: {user: u, password_file: p}", "login would send its password in clear"),
        ("login: {user: u}", "give password_file or password_variable, one of the two"),
        (
            "login: {user: u, password: hunter2}",
            "login.password: unknown field; did you mean 'password_file'?",
        ),
        ("tls: {ca_file: c, key_file: k}", "certificate_file and key_file go together"),
    ],
)
def test_configuration_that_would_tell_a_secret_is_refused(tmp_path, plant, message):
    """Before anything connects; a password in the file is an unknown field, and is not repeated."""
    config = tmp_path / "fleet.yaml"
    config.write_text(f"TX01: {{plant: {{protocol: sparkplug_b, {plant}}}, R1: {{coolant_pump: {{}}}}}}\n")
    result = checked(config)
    assert message in str(result.exception)
    assert "hunter2" not in str(result.exception)


def test_only_a_broker_has_tls():
    with pytest.raises(ConfigError, match="tls belong to sparkplug_b; modbus_tcp takes neither"):
        parse_fleet({"TX01": {"plant": {"tls": {"ca_file": "c"}}, "R1": {"coolant_pump": {}}}}, "test")


async def test_plant_of_another_machine_without_tls_and_a_login_is_refused(pki):
    """A simulated plant publishes beyond loopback with both, or not at all."""
    for section in ({}, tls(pki)):
        with pytest.raises(ConfigError, match=r"plant\.host"):
            async with SparkplugPlant(
                "TX01", Plant(protocol="sparkplug_b", host="192.0.2.1", **section), COMPONENTS
            ):
                pass


def test_check_names_where_the_secret_is_and_never_tells_it(pki, tmp_path, monkeypatch):
    monkeypatch.setenv("SITE_PASSWORD", PASSWORD)
    config = tmp_path / "fleet.yaml"
    user = "{user: reader, password_variable: SITE_PASSWORD}"
    config.write_text(
        f"TX01: {{plant: {{protocol: sparkplug_b, login: {user}}}, R1: {{coolant_pump: {{}}}}}}\n"
    )
    result = checked(config, "--json")
    assert "SITE_PASSWORD" in result.stdout
    assert PASSWORD not in result.stdout
