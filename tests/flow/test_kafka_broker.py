"""The launcher, the topics, and what the tests' own broker promises them."""

import os
import re
import shutil
import subprocess

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from shared.schemas import DLQ_SUFFIX, TOPICS
from tests.support.kafka import INFRA, LAUNCHER, KafkaBroker, topics

DEADLINE_S = 30.0


def send(broker: KafkaBroker, *bodies: bytes) -> None:
    failed = []
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all", "log_level": 0})
    for body in bodies:
        producer.produce("audit", body, "TX01", on_delivery=lambda error, _: failed.append(error))
    assert producer.flush(DEADLINE_S) == 0
    assert failed == [None] * len(bodies)


def received(broker: KafkaBroker, count: int) -> list[bytes]:
    own = {"group.id": "reader", "auto.offset.reset": "earliest", "log_level": 0}
    reader = Consumer({"bootstrap.servers": broker.bootstrap, **own})
    reader.subscribe(["audit"])
    try:
        return [message.value() for message in reader.consume(count, DEADLINE_S)]
    finally:
        reader.close()


def test_what_the_broker_acknowledged_outlives_its_kill(kafka):
    """A record acknowledged before kill -9 is there after the restart, and the next one follows it."""
    send(kafka, b"1")
    kafka.kill()
    kafka.start()
    send(kafka, b"2")
    assert received(kafka, 2) == [b"1", b"2"]


def test_a_paused_broker_answers_when_it_is_resumed(kafka):
    """While it is stopped nothing is delivered; afterwards everything is."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "acks": "all", "log_level": 0})
    kafka.pause()
    try:
        producer.produce("audit", b"1", "TX01")
        assert producer.flush(0.5) == 1
    finally:
        kafka.resume()
    assert producer.flush(DEADLINE_S) == 0
    assert received(kafka, 1) == [b"1"]


def test_the_topics_file_names_every_topic_and_its_dead_letters():
    """What the records travel on is what the file makes."""
    assert {topic.topic for topic in topics()} == {name + end for name in TOPICS for end in ("", DLQ_SUFFIX)}


@pytest.mark.slow
def test_init_topics_makes_what_is_missing_and_corrects_what_differs(kafka):
    """A missing topic is made, a wrong setting corrected, and a second run changes nothing."""
    admin = kafka.admin()
    for call in admin.delete_topics(["alerts.dlq"], operation_timeout=DEADLINE_S).values():
        call.result(DEADLINE_S)
    wrong = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    alerts = ConfigResource(ResourceType.TOPIC, "alerts", incremental_configs=[wrong])
    for call in admin.incremental_alter_configs([alerts]).values():
        call.result(DEADLINE_S)
    first, second = init_topics(kafka.bootstrap), init_topics(kafka.bootstrap)
    assert re.findall(r"^(made|changed) +(\S+):", first, re.M) == [
        ("changed", "alerts"),
        ("made", "alerts.dlq"),
    ]
    assert second == f"healthy  {len(topics())} topics at {kafka.bootstrap}, a leader for each partition\n"
    [described] = admin.describe_configs([ConfigResource(ResourceType.TOPIC, "alerts")]).values()
    assert described.result(DEADLINE_S)["retention.ms"].value == "2592000000"


def init_topics(bootstrap: str) -> str:
    script = INFRA / "init_kafka_topics.sh"
    return subprocess.run([script, bootstrap], check=True, stdout=subprocess.PIPE, text=True).stdout


def test_a_machine_without_java_is_told_what_to_install(tmp_path):
    """The launcher names the package instead of a missing command."""
    for name in ("bash", "dirname", "sha256sum", "cut"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    found = subprocess.run(
        [LAUNCHER, "serve", "any.properties"],
        check=False,
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1
    assert found.stderr == "kafka.sh: java is missing: apt-get install openjdk-17-jre-headless\n"
