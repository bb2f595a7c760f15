"""Outbox -> forwarder -> Apache Kafka -> ingest -> lake: each record once, whatever the broker does."""

import asyncio
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
import yaml
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import NewTopic, OffsetSpec

from control_plane.commands.import_ import import_
from control_plane.ingest import consumer
from control_plane.ingest.telemetry import consume_telemetry
from edge_agent.app import Agent
from edge_agent.audit.log import origin
from edge_agent.bundle import OutboxFile, Signer, export
from edge_agent.forward import Forwarder, publish_telemetry, settings
from edge_agent.settings import AgentSettings
from edge_agent.simulation import ReactorSimulator
from shared.errors import ConfigError, Retryable
from shared.kafka_client import VARIABLE, load_client_settings
from shared.log_key import LogKey
from shared.reactor_config import load_fleet, parse_fleet
from shared.schemas import Alert, AlertKind, ComponentId, Outgoing, Severity, utc_now
from tests.flow.test_outbox_to_lake import lake_cycles
from tests.support.agent_rig import NOWHERE, Rig
from tests.support.dying_ingest import AtOnce
from tests.support.kafka import KafkaBroker
from tests.support.kafka_tls import PASSWORD, authority, client_file
from tests.support.pipeline import (
    OneThread,
    forwarding,
    ingesting,
    telemetry,
    thread,
    until,
)
from tests.support.services import BIN

pytestmark = pytest.mark.timeout(
    300
)  # a broker that is killed starts again in 5 s alone, in 60 beside others

DEADLINE_S = 60.0
FLEET = """
TX01:
  plant: {protocol: modbus_tcp, port: 15021, poll_period_s: 0.1, timeout_s: 0.1}
  R1:
    reactor_type: forced_circulation
    coolant_pump: {decay_type: exponential, lambda: 0.006}
"""


@pytest.fixture
def outbox(tmp_path: Path) -> OneThread:
    return OneThread(tmp_path / "o.db")


def commit(outbox: OneThread, *records: Outgoing) -> None:
    outbox.ask(outbox.store.commit, records)


def messages(bootstrap: str, topic: str, count: int) -> list[Message]:
    """The first `count` messages of a topic."""
    own = {"group.id": "reader", "auto.offset.reset": "earliest", "log_level": 0}
    reader = Consumer({"bootstrap.servers": bootstrap, **own})
    reader.subscribe([topic])
    try:
        return reader.consume(count, DEADLINE_S)
    finally:
        reader.close()


def seqs(found: list[Message]) -> list[int]:
    return [int(dict(message.headers())["seq"]) for message in found]


@pytest.mark.slow
def test_each_record_is_in_the_lake_once_though_the_broker_is_killed_and_paused(tmp_path, kafka, outbox):
    """What is committed while Kafka is there, dead, and frozen arrives exactly once, in order."""
    lake = tmp_path / "lake"
    with ingesting(lake, kafka.bootstrap) as ingest, forwarding(outbox, kafka.bootstrap):
        commit(outbox, *map(telemetry, range(500)))
        until(lambda: ingest.accepted >= 1)
        kafka.kill()
        commit(outbox, *map(telemetry, range(500, 1_000)))  # the first seconds after the loss are kept too
        kafka.start()
        until(lambda: ingest.accepted >= 1_000)
        kafka.pause()
        try:
            commit(outbox, *map(telemetry, range(1_000, 1_500)))
        finally:
            kafka.resume()
        until(lambda: ingest.accepted == 1_500 and outbox.pending_rows() == 0)
    assert lake_cycles(lake, "coolant_pump") == list(range(1_500))


def test_one_record_too_large_for_the_broker_costs_no_other(kafka, outbox):
    """Of a batch refused as too large only the large record is set aside; the others keep their order."""
    kafka.reset(**{"max.message.bytes": "20000"})
    records = [telemetry(cycle)._replace(body=os.urandom(300).hex().encode()) for cycle in range(200)]
    records[50] = records[50]._replace(body=os.urandom(15_000).hex().encode())
    commit(outbox, *records)
    with forwarding(outbox, kafka.bootstrap) as forwarder:
        until(lambda: outbox.pending_rows() == 0)
    assert forwarder.dead_lettered == 1
    admin = kafka.admin()
    found = admin.list_offsets({TopicPartition("telemetry_raw", p): OffsetSpec.latest() for p in range(6)})
    count = sum(call.result(DEADLINE_S).offset for call in found.values())
    sent = list(dict.fromkeys(seqs(messages(kafka.bootstrap, "telemetry_raw", count))))  # repeats are allowed
    assert sent == [seq for seq in range(1, 201) if seq != 51]
    [dead] = messages(kafka.bootstrap, "telemetry_raw.dlq", 1)
    assert dict(dead.headers())["reason"] == b"Broker: Message size too large"
    assert seqs([dead]) == [51]


@pytest.mark.slow
def test_a_missing_topic_is_held_and_filled_when_it_is_made(kafka, outbox, monkeypatch):
    """Telemetry goes on; the reason is told; the alert arrives once somebody makes the topic."""
    monkeypatch.setattr(settings, "NEW_TOPIC_WAIT_MS", 500)
    admin = kafka.admin()
    for call in admin.delete_topics(["alerts"], operation_timeout=DEADLINE_S).values():
        call.result(DEADLINE_S)
    until(lambda: "alerts" not in admin.list_topics(timeout=DEADLINE_S).topics)  # until then it takes records
    commit(outbox, telemetry(1), alert(), telemetry(2))
    with forwarding(outbox, kafka.bootstrap) as forwarder:
        until(lambda: outbox.pending_rows() == 1 and "alerts" in forwarder.held)
        commit(outbox, telemetry(3))
        until(lambda: forwarder.delivered == 3)
        assert "the topic does not exist" in forwarder.held["alerts"]
        for call in admin.create_topics([NewTopic("alerts", 1, 1)]).values():
            call.result(DEADLINE_S)
        until(lambda: outbox.pending_rows() == 0)
        assert forwarder.held == {}
    assert seqs(messages(kafka.bootstrap, "alerts", 1)) == [2]


def test_rows_not_acknowledged_before_a_kill_are_sent_again(kafka, outbox):
    """At least once: a process that dies before it noted the reports sends the rows anew."""
    commit(outbox, *map(telemetry, range(20)))
    noted = outbox.acknowledge
    outbox.acknowledge = lambda rows: None
    with forwarding(outbox, kafka.bootstrap) as first:
        until(lambda: first.delivered == 20)
    outbox.acknowledge = noted
    with forwarding(outbox, kafka.bootstrap):
        until(lambda: outbox.pending_rows() == 0)
    assert seqs(messages(kafka.bootstrap, "telemetry_raw", 40)) == [*range(1, 21)] * 2


@pytest.mark.slow
def test_a_simulator_published_straight_to_kafka_is_in_the_lake(tmp_path, kafka):
    """PRD 2.2's entry point and its command: the centre takes what they send as a site's."""
    config = tmp_path / "fleet.yaml"
    config.write_text(FLEET)
    section = load_fleet(config).components()[ComponentId("TX01", "R1", "coolant_pump")]
    simulator = ReactorSimulator(section, site_id="TX01", reactor_id="R1", component="coolant_pump")
    assert publish_telemetry(simulator, "telemetry_raw", 0.0, bootstrap=kafka.bootstrap, cycles=20) == 20
    command = [BIN / "edge-agent", "simulate", "--config", config, "--mode", "stream", "--cycles", "3"]
    asked = subprocess.run([*command, "--kafka", kafka.bootstrap], check=True, capture_output=True, text=True)
    assert (
        asked.stdout == f"3 cycles of TX01/R1/coolant_pump delivered to telemetry_raw at {kafka.bootstrap}\n"
    )
    with ingesting(tmp_path / "lake", kafka.bootstrap) as ingest:
        until(lambda: ingest.accepted == 23)
    body = json.loads(messages(kafka.bootstrap, "telemetry_raw", 1)[0].value())
    assert body["site_id"] == "TX01"
    assert set(body["metrics"]) == set(section.tags)


@pytest.mark.slow
def test_publishing_to_a_topic_that_does_not_exist_is_told(kafka, monkeypatch):
    """Not a silent loss: the caller hears which topic, and why."""
    monkeypatch.setattr(settings, "NEW_TOPIC_WAIT_MS", 500)
    section = parse_fleet(yaml.safe_load(FLEET), "test").components()[
        ComponentId("TX01", "R1", "coolant_pump")
    ]
    simulator = ReactorSimulator(section, site_id="TX01", reactor_id="R1", component="coolant_pump")
    with pytest.raises(Retryable, match=r"no_such_topic at .*: 2 records refused"):
        publish_telemetry(simulator, "no_such_topic", 0.0, bootstrap=kafka.bootstrap, cycles=2)


def test_a_record_from_a_clock_days_ahead_is_taken(kafka, outbox):
    """Kafka's own default would refuse it; a wrong clock costs no reading."""
    ahead = telemetry(1)
    commit(outbox, ahead._replace(time_ms=ahead.time_ms + 5 * 86_400_000), telemetry(2))
    with forwarding(outbox, kafka.bootstrap) as forwarder:
        until(lambda: outbox.pending_rows() == 0)
    assert forwarder.dead_lettered == 0


def alert() -> Outgoing:
    """One alarm."""
    return Alert(
        timestamp=utc_now(), site_id="TX01", reactor_id="R1", component="coolant_pump", alert_id="1",
        kind=AlertKind.RUL_LOW, severity=Severity.ALARM, state="raised", cycle=1, subject="rul", value=1.0,
        threshold=2.0, message="soon",
    ).outgoing()  # fmt: skip


@pytest.fixture
def secure(kafka: KafkaBroker) -> tuple[str, Path]:
    """The broker's address behind TLS and a password, and the authority that its clients believe."""
    assert kafka.secure is not None
    return kafka.secure, kafka.folder / "ca.pem"


@pytest.mark.slow
def test_the_right_password_over_tls_delivers_on_both_sides(tmp_path, secure, outbox):
    """Outbox to lake through a listener with TLS and SASL, with the settings of one file."""
    address, ca = secure
    client = load_client_settings(client_file(tmp_path, ca))
    commit(outbox, *map(telemetry, range(20)))
    forwarder = Forwarder(outbox, address, "TX01", "c" * 64, client)
    with ingesting(tmp_path / "lake", address, client=client) as ingest, thread(forwarder.run, 0.0):
        until(lambda: ingest.accepted == 20)
    assert lake_cycles(tmp_path / "lake", "coolant_pump") == list(range(20))


@pytest.mark.slow
def test_an_import_and_consume_telemetry_reach_a_broker_with_tls_and_a_password(
    tmp_path, secure, outbox, monkeypatch, capsys
):
    """A courier's bundle goes by way of that broker to the lake, the settings in a file for both."""
    monkeypatch.setattr(consumer, "Consumer", AtOnce)
    address, ca = secure
    file = client_file(tmp_path, ca)
    commit(outbox, *map(telemetry, range(20)))
    key = LogKey.load_or_create(tmp_path / "audit.pem")
    signer = Signer("TX01", "c" * 64, origin("TX01"), key)
    with OutboxFile(tmp_path / "o.db") as rows:
        export(rows, datetime(2020, 1, 1, tzinfo=UTC), tmp_path / "courier", signer, lambda _: None)
    keys, centre = tmp_path / "keys", tmp_path / "centre"
    keys.write_text(f"{signer.verifier}\n")
    for name, value in (("PM_DATA_DIR", centre), ("PM_KAFKA", address), (VARIABLE, file)):
        monkeypatch.setenv(name, str(value))
    with thread(lambda stop: consume_telemetry("telemetry_raw", stop=stop)):
        until((centre / "lake" / "telemetry").exists)
        with pytest.raises(typer.Exit) as ended:
            import_(tmp_path / "courier", centre, address, keys, file, as_json=True)
        assert ended.value.exit_code == 0
        until(lambda: lake_cycles(centre / "lake", "coolant_pump") == list(range(20)))
    assert json.loads(capsys.readouterr().out)[0]["sent"] == 20


@pytest.mark.slow
def test_a_wrong_password_is_refused_and_told_and_costs_nothing(tmp_path, secure, outbox):
    """Nothing is delivered, nothing is lost, the reason names the cause and no secret."""
    address, ca = secure
    client = load_client_settings(client_file(tmp_path, ca, "a wrong one"))
    commit(outbox, telemetry(1))
    forwarder = Forwarder(outbox, address, "TX01", "c" * 64, client)
    with thread(forwarder.run, 0.0):
        until(lambda: "Authentication failed" in (forwarder.trouble or ""))
        commit(outbox, telemetry(2))
    assert "a wrong one" not in str(forwarder.trouble)
    assert outbox.pending_rows() == 2


@pytest.mark.slow
async def test_a_site_that_kafka_refuses_polls_on_and_says_so(tmp_path, secure, monkeypatch):
    """With a wrong password the polls go on, the records stay in the outbox, the metric tells."""
    monkeypatch.setattr("edge_agent.app.DRAIN_DEADLINE_S", 0.1)  # nothing will drain
    address, ca = secure
    rig = Rig(tmp_path)
    own = AgentSettings(
        config=tmp_path / "unused.yaml", site="TX01", data_dir=rig.data, trust_dir=rig.centre.trust["TX01"],
        kafka=address, fleet="127.0.0.1:1", repository=NOWHERE, health=rig.health,
        kafka_client=load_client_settings(client_file(tmp_path, ca, "a wrong one")),
    )  # fmt: skip
    stop = asyncio.Event()
    async with rig.plant():
        agent = asyncio.create_task(Agent(own, rig.fleet).run(stop))
        try:
            await rig.until(lambda: len(rig.rows("telemetry/1")) >= 5)
            while "edge_forward_trouble 1.0" not in (await rig.get("/metrics"))[1]:
                await asyncio.sleep(0.1)
            before = len(rig.rows("telemetry/1"))
            await rig.until(lambda: len(rig.rows("telemetry/1")) >= before + 5)
        finally:
            stop.set()
            await agent


@pytest.mark.slow
def test_a_broker_of_another_authority_is_not_believed(tmp_path, secure, outbox):
    """An impostor gets neither record nor password."""
    address, _ = secure
    client = load_client_settings(client_file(tmp_path, authority(tmp_path)))
    commit(outbox, telemetry(1))
    forwarder = Forwarder(outbox, address, "TX01", "c" * 64, client)
    with thread(forwarder.run, 0.0):
        until(lambda: "certificate verify failed" in (forwarder.trouble or ""))
    assert outbox.pending_rows() == 1


def test_a_clients_file_is_checked_before_anything_starts(tmp_path):
    """Every problem with its line; neither a secret nor a way to turn verification off gets through."""
    path = tmp_path / "client.properties"
    path.write_text(
        f"sasl.password={PASSWORD}\nenable.ssl.certificate.verification=false\n"
        "security.protocol=tls\nssl.ca.location=/no/such.pem\nnonsense\n"
    )
    path.chmod(0o644)
    with pytest.raises(ConfigError) as caught:
        load_client_settings(path)
    told = str(caught.value)
    assert PASSWORD not in told
    for part in (
        "mode -rw-r--r--",
        "line 2: 'enable.ssl.",
        "line 3: security.protocol",
        "line 4: ssl.ca.",
        "line 5",
    ):
        assert part in told
    found = load_client_settings(client_file(tmp_path, Path(__file__)))
    assert found["sasl.password"] == PASSWORD
    assert PASSWORD not in f"{found} {found!r}"
