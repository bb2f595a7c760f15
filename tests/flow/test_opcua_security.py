"""OPC UA signed and encrypted: who is let in, who is refused with which words, and what is never shown."""

import asyncio
import json
import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
import typer
from asyncua import Client, ua
from asyncua.server.uaprocessor import UaProcessor
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from edge_agent.commands.certificate import certificate
from edge_agent.commands.check import check
from edge_agent.commands.read import read
from edge_agent.simulation.opcua_server import OpcUaPlantServer
from edge_agent.sources.opcua import OpcUaSource
from shared.errors import ConfigError
from shared.listen import free_port
from shared.opcua_certificates import described, load_credentials, parse_certificate
from shared.plant_config import OpcUaSecurity, Plant
from shared.reactor_config import parse_fleet
from shared.schemas import ComponentId, Quality, Telemetry, utc_now

PUMP = ComponentId("TX01", "R1", "coolant_pump")
COMPONENTS = parse_fleet({"TX01": {"R1": {"coolant_pump": {}}}}, "test").components()
SHOWN = {tag: 10.0 + i for i, tag in enumerate(COMPONENTS[PUMP].tags)}
PASSWORD = "correct horse battery"  # noqa: S105 - of this test alone
TIMEOUT_S = 1.0
DEADLINE_S = 60.0
SHARED = pytest.mark.asyncio(loop_scope="module")  # every test: one plant lives as long as the module
READ_SERVICES = {
    "GetEndpoints", "CreateSession", "ActivateSession", "CloseSession", "Read", "CreateSubscription",
    "CreateMonitoredItems", "Publish", "DeleteSubscriptions",
}  # fmt: skip


def once(command, *options: str):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, options)


def qualities(printed: Result) -> set[str]:
    return {row["quality"] for row in json.loads(printed.stdout or "[]")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Certificates as the command makes them, and a password."""
    made = tmp_path_factory.mktemp("certificates")
    for name, days in (("agent", 3650), ("short", 1), ("plant", 365), ("other", 365)):
        assert once(certificate, str(made), "--name", name, "--days", str(days)).exit_code == 0
    for name, password in (("password", PASSWORD + "\n"), ("wrong", "guess")):
        (made / name).write_text(password)
        (made / name).chmod(0o600)
    return made


def security(folder: Path, agent: str = "agent", trusted: str = "plant.der", **more) -> OpcUaSecurity:
    settings = {
        "policy": "Basic256Sha256",
        "certificate": folder / f"{agent}.der",
        "key": folder / f"{agent}-key.pem",
        "trusted": folder / trusted,
    }
    return OpcUaSecurity(**settings | more)


@asynccontextmanager
async def plant(
    folder: Path, wanted: OpcUaSecurity | None = None, kind=OpcUaPlantServer
) -> AsyncIterator[OpcUaPlantServer]:
    key = folder / "plant-key.pem"
    async with kind("127.0.0.1", free_port(), COMPONENTS, wanted or security(folder), key) as server:
        server.show(PUMP, 1, SHOWN)
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secured(folder) -> AsyncIterator[OpcUaPlantServer]:
    """One plant with the usual settings, for it takes seconds to start."""
    async with plant(folder) as server:
        yield server


def source_at(port: int, mine: OpcUaSecurity | None) -> OpcUaSource:
    section = Plant(protocol="opc_ua", port=port, poll_period_s=1, timeout_s=TIMEOUT_S, security=mine)
    return OpcUaSource("TX01", section, COMPONENTS)


async def polled(source: OpcUaSource) -> Telemetry:
    """Polls until there is a number, for a minute at most."""
    async with asyncio.timeout(DEADLINE_S):
        while not (reading := (await source.read())[0]).metrics:
            await asyncio.sleep(0.05)
    return reading


async def refused(port: int, mine: OpcUaSecurity) -> tuple[Telemetry, str]:
    """What three polls end with, and the one reason that was logged."""
    with capture_logs() as logs:
        async with source_at(port, mine) as source:
            async with asyncio.timeout(DEADLINE_S):
                while not logs:
                    (reading,) = await source.read()
                    await asyncio.sleep(0.05)
            for _ in range(3):
                (reading,) = await source.read()
    reasons = {entry["reason"] for entry in logs}
    assert len(logs) == 1, "a reason is logged once, not at every attempt"
    assert reading.metrics == {}
    return reading, reasons.pop()


@pytest.fixture
def heard(monkeypatch) -> Counter[tuple[str, str]]:
    """Services that servers were asked for, each with the mode of its channel."""
    found: Counter[tuple[str, str]] = Counter()
    process = UaProcessor._process_message

    async def record(self, typeid, *rest):
        name = ua.ObjectIdNames[typeid.Identifier].removesuffix("Request_Encoding_DefaultBinary")
        found[name, self._connection.security_policy.Mode.name] += 1
        return await process(self, typeid, *rest)

    monkeypatch.setattr(UaProcessor, "_process_message", record)
    return found


@pytest.mark.parametrize("policy", ["Basic256Sha256", "Aes256Sha256RsaPss"])
@pytest.mark.parametrize("user", [{}, {"user": "agent"}])
@SHARED
async def test_encrypted_connection_reads_and_only_reads(folder, heard, policy, user):
    """Each policy, with and without a user: the plant's numbers, and no service but those that read.

    All but the question for the server's endpoints is signed and encrypted.
    """
    password = {"password_file": folder / "password"} if user else {}
    mine = security(folder, policy=policy, **user, **password)
    async with plant(folder, mine) as server, source_at(server.port, mine) as source:
        reading = await polled(source)
    assert reading.metrics.keys() == SHOWN.keys()
    assert {service for service, _ in heard} <= READ_SERVICES
    assert {service for service, mode in heard if mode != "SignAndEncrypt"} == {"GetEndpoints"}
    assert heard["Read", "SignAndEncrypt"] > 0


@SHARED
async def test_write_over_the_encrypted_connection_would_be_noticed(secured, folder, heard):
    """The record of services can fail."""
    async with source_at(secured.port, security(folder)) as source:
        await polled(source)
        node = source._connection._client.get_node(source._connection._node_ids[1])
        with pytest.raises(ua.UaStatusCodeError):
            await node.write_value(1.0)
    assert {service for service, _ in heard} - READ_SERVICES == {"Write"}


@SHARED
async def test_folder_of_trusted_certificates_is_a_trust_list(secured, folder, tmp_path):
    """One of several is enough; a file that is no certificate by its name is passed over."""
    for name in ("plant", "other"):
        (tmp_path / f"{name}.der").write_bytes((folder / f"{name}.der").read_bytes())
    (tmp_path / "readme.txt").write_text("from the vendor")
    mine = security(folder, trusted=str(tmp_path))
    async with source_at(secured.port, mine) as source:
        assert (await polled(source)).quality == {}


@SHARED
async def test_server_with_another_certificate_is_refused(secured, folder):
    """The message has the fingerprint that was shown, and what to do."""
    shown = described(parse_certificate((folder / "plant.der").read_bytes()))
    reading, reason = await refused(secured.port, security(folder, trusted="other.der"))
    assert set(reading.quality.values()) == {Quality.DISCONNECTED}
    assert f"shows certificate {shown}, which is not in plant.security.trusted" in reason
    assert "save it there if they are the same" in reason


@SHARED
async def test_server_that_does_not_trust_the_agent_is_told(secured, folder):
    """The agent's certificate is named, and whose list it must be put in."""
    _, reason = await refused(secured.port, security(folder, agent="other"))
    assert "other.der (BadCertificateUntrusted)" in reason
    assert "put it in the server's trust list" in reason


@SHARED
async def test_wrong_password_is_told_and_never_shown(folder):
    """The user is named, the password nowhere."""
    right = security(folder, user="agent", password_file=folder / "password")
    async with plant(folder, right) as server:
        _, reason = await refused(server.port, security(folder, user="agent", password_file=folder / "wrong"))
        _, nobody = await refused(server.port, security(folder))
    assert "lets nobody in as 'agent' (BadUserAccessDenied)" in reason
    assert "lets nobody in without a user" in nobody
    assert "guess" not in reason


@pytest.mark.parametrize(
    ("days", "whose"), [(2, "the agent's certificate"), (400, "the server's certificate")]
)
@SHARED
async def test_expired_certificate_is_refused(secured, folder, monkeypatch, days, whose):
    """Whichever it is, with its dates and the clock's."""
    monkeypatch.setattr("edge_agent.sources.opcua_security.utc_now", lambda: utc_now() + timedelta(days=days))
    _, reason = await refused(secured.port, security(folder, agent="short" if days < 100 else "agent"))
    assert whose in reason
    assert "renew it or set the clock" in reason


@SHARED
async def test_server_whose_application_uri_is_not_its_certificates_is_refused(folder):
    """A certificate that was copied from another application."""

    class Renamed(OpcUaPlantServer):
        async def _built(self):
            server = await super()._built()
            await server.set_application_uri("urn:somebody:else")
            return server

    async with plant(folder, kind=Renamed) as server:
        _, reason = await refused(server.port, security(folder))
    assert "calls itself 'urn:somebody:else', its certificate ['urn:pm-stack-smr:plant']" in reason


@SHARED
async def test_server_without_the_policy_is_refused_with_what_it_offers(secured, folder):
    """No fallback to another policy, nor to none."""
    _, reason = await refused(secured.port, security(folder, policy="Aes256Sha256RsaPss"))
    assert "offers no Aes256Sha256RsaPss with SignAndEncrypt but Basic256Sha256/SignAndEncrypt" in reason


@SHARED
async def test_secured_plant_lets_nobody_in_without_encryption(secured, monkeypatch):
    """Neither an agent without security reads a number, nor a client that does not look what is offered."""
    async with source_at(secured.port, None) as source:
        for _ in range(3):
            assert (await source.read())[0].metrics == {}
    monkeypatch.setattr(Client, "find_endpoint", staticmethod(lambda endpoints, *_: endpoints[0]))
    client = Client(f"opc.tcp://127.0.0.1:{secured.port}/", 10)
    with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
        await client.connect()


@SHARED
async def test_files_that_cannot_be_used_are_all_listed_before_a_start(folder, tmp_path):
    """Missing, garbled, readable by everyone, not of each other: each with its option and a remedy."""
    (tmp_path / "garbled.der").write_bytes(b"\x30\x00")
    open_key = tmp_path / "open-key.pem"
    open_key.write_bytes((folder / "other-key.pem").read_bytes())
    open_key.chmod(0o644)
    wrong = security(
        folder, key=open_key, trusted=str(tmp_path / "garbled.der"), user="a", password_file=tmp_path / "none"
    )
    with pytest.raises(ConfigError) as caught:
        async with source_at(1, wrong):
            pass
    told = str(caught.value)
    assert "4 problems" in told
    assert "trusted: " in told
    assert "is no certificate in PEM or DER" in told
    assert f"can be read by everyone; chmod o= {open_key}" in told
    assert "password_file: " in told
    assert "is not the key of" in told


def test_security_is_said_beyond_this_machine():
    """Doing without is a choice that stands in the file; what does not fit together is refused."""
    remote = {"protocol": "opc_ua", "host": "10.0.0.5"}
    files = {"certificate": "a.der", "key": "a.pem", "trusted": "b.der"}

    def problem(plant: dict) -> str:
        with pytest.raises(ConfigError) as caught:
            parse_fleet({"TX01": {"plant": plant, "R1": {"coolant_pump": {}}}}, "test")
        return str(caught.value)

    assert "write security: {policy: none}" in problem(remote)
    assert "leave out key" in problem(remote | {"security": {"policy": "none", "key": "a.pem"}})
    assert "needs certificate, trusted too" in problem(
        remote | {"security": {"policy": "Basic256Sha256", "key": "k"}}
    )
    assert "user and password_file go together" in problem(
        remote | {"security": {"policy": "Basic256Sha256", "user": "a", **files}}
    )
    assert "security is for opc_ua" in problem({"security": {"policy": "none"}})
    assert "unknown field" in problem(remote | {"security": {"policy": "none", "password": "x"}})
    assert Plant(**remote, security={"policy": "none"}).secured is None
    assert Plant(**remote, security={"policy": "Basic256Sha256", **files}).secured is not None


def test_secrets_are_in_no_repr(folder):
    """Neither the key nor the password."""
    mine = load_credentials(security(folder, user="agent", password_file=folder / "password"))
    assert mine.password == PASSWORD
    assert PASSWORD not in repr(mine)
    assert "PrivateKey" not in repr(mine)


def test_certificate_is_never_overwritten(folder):
    """The key of before may be the one that servers trust."""
    result = once(certificate, str(folder), "--name", "agent")
    assert isinstance(result.exception, ConfigError)
    assert "agent.der exists" in str(result.exception)
    assert (folder / "agent-key.pem").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_commands_speak_to_a_secured_plant(folder, tmp_path, caplog):
    """`plant --server-key`, `check` and `read`, with the settings of one file; no output has the password."""
    path, mine = tmp_path / "fleet.yaml", security(folder, user="agent", password_file=folder / "password")
    section = {"protocol": "opc_ua", "port": free_port(), "poll_period_s": 1, "timeout_s": TIMEOUT_S}
    section["security"] = mine.model_dump(mode="json")
    path.write_text(json.dumps({"TX01": {"plant": section, "R1": {"coolant_pump": {}}}}))
    options = ["--config", str(path), "--site", "TX01"]
    caplog.set_level(logging.DEBUG)
    outputs = [once(check, *options).stdout, once(check, "--json", *options).stdout]
    assert "Basic256Sha256 security" in outputs[0]
    program = "import typer; from edge_agent.commands.plant import plant; typer.run(plant)"
    arguments = [sys.executable, "-c", program, *options, "--server-key", str(folder / "plant-key.pem")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            outputs.append(process.stdout.readline())
            assert "TX01: OPC UA on 127.0.0.1" in outputs[-1]
            end_s = time.monotonic() + DEADLINE_S
            while qualities(good := once(read, "--once", "--json", *options)) != {"good"}:
                assert time.monotonic() < end_s, good.output  # it serves, its first cycle is to come
                time.sleep(0.1)
        finally:
            process.terminate()
    assert all(PASSWORD not in text for text in [*outputs, good.output, caplog.text])
